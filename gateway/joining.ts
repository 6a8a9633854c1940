import { setTimeout as delay } from 'node:timers/promises';
import { EXIT, MeshError, type ExitCode } from '#kit/errors.ts';
import type { IdentitySource } from './supervisor/identity-source.ts';

/** Registry and CA answer within this on a first start, or it has failed. A service manager tries again. */
export const JOIN_MS = 15_000;
const LOOK_MS = 50;

/** What waiting does not mend: somebody has to change a setting or make a new token. */
const FINAL: Readonly<Record<string, ExitCode>> = {
  ca_fingerprint_mismatch: EXIT.usage,
  ca_untrusted: EXIT.usage,
  token_malformed: EXIT.usage,
  token_missing: EXIT.usage,
  identity_files: EXIT.usage,
  token_refused: EXIT.failed,
  identity_not_allowed: EXIT.failed,
};

export interface Joining {
  readonly identity: IdentitySource;
  /** The tables of an earlier run are there to serve from. */
  readonly hasSnapshot: boolean;
  readonly registry: { readonly name: string; isConnected(): boolean };
  /** Somebody wants it to end: then nobody waits any more. */
  readonly stopped: Promise<void>;
}

/**
 * A gateway that has run before serves from its disk while registry and CA are away. One that starts
 * for the first time has nothing: it joins within JOIN_MS, or ends with what is in its way instead of
 * sitting there without a use.
 *
 * @throws MeshError of what failed: exit code 64 or 1 for what the CA refuses, 69 for who cannot be reached
 */
export async function untilJoined(joining: Joining): Promise<void> {
  const { identity, hasSnapshot, registry } = joining;
  let isStopped = false;
  void joining.stopped.then(() => (isStopped = true));
  const deadline = performance.now() + JOIN_MS;
  for (;;) {
    const hasCertificate = (identity.material?.svids.size ?? 0) > 0;
    const failed = identity.state.find(({ lastErrorCode }) => lastErrorCode !== undefined);
    const hasTables = hasSnapshot || registry.isConnected();
    if (isStopped || (hasCertificate && hasTables)) return;

    const code = hasCertificate ? undefined : failed?.lastErrorCode;
    const why = failed?.lastError ?? 'the CA did not answer';
    const final = code === undefined ? undefined : FINAL[code];
    if (code !== undefined && final !== undefined) {
      throw new MeshError(code, `cannot join: ${why}`, { exitCode: final });
    }
    if (performance.now() > deadline) {
      const seconds = JOIN_MS / 1000;
      const what = hasTables
        ? why
        : `${registry.name} cannot be reached, and there is no snapshot of an earlier run to serve from; see that it runs and that this machine may reach it`;
      throw new MeshError('cannot_join', `cannot join, tried for ${seconds} s: ${what}`, {
        exitCode: EXIT.unreachable,
      });
    }
    await delay(LOOK_MS);
  }
}
