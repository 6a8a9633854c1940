import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** A directory service that hangs must not hang a reload. */
const LOOK_UP_MS = 3_000;

/** Uid of a Unix user by the system's own look-up (files, LDAP, …); undefined when there is no such user. */
export async function uidOf(user: string): Promise<number | undefined> {
  try {
    const { stdout } = await run('getent', ['passwd', user], { timeout: LOOK_UP_MS });
    const uid = stdout.split(':')[2];
    return uid !== undefined && /^\d+$/.test(uid) ? Number(uid) : undefined;
  } catch {
    // getent exits 2 for an unknown name; the caller says what that means.
    return undefined;
  }
}
