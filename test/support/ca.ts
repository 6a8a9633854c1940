import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, type Clock } from '#kit/clock.ts';
import { createLog } from '#kit/log.ts';
import { Authority } from '../../ca/authority.ts';
import {
  joinKeys,
  prepareRequests,
  type CertificateAuthorityClient,
} from '../../ca/authority-client.ts';
import { initAuthority } from '../../ca/directory.ts';
import { parseIdentity, type Identity, type IdentityKind } from '../../ca/identity.ts';
import { openEmbeddedStore } from '../../registry/store/embedded.ts';
import type { Store } from '../../registry/store/store.ts';

export const TRUST_DOMAIN = 'mesh.test';
export const silentLog = createLog({ level: 'silent' });

export function identity(kind: IdentityKind, name: string): Identity {
  return { trustDomain: TRUST_DOMAIN, kind, name };
}

type After = (fn: () => Promise<void> | void) => void;

/**
 * Cleans up in the reverse order: `t.after` alone would remove a folder before what writes into it is stopped. One
 * failure does not keep the others from running: a process left behind would hold up the whole run.
 */
export function lastFirst(t: { after(fn: () => Promise<void>): void }): After {
  const pending: (() => Promise<void> | void)[] = [];
  t.after(async () => {
    const failures: unknown[] = [];
    for (const fn of pending.toReversed()) {
      try {
        await fn();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('; '));
  });
  return (fn) => void pending.push(fn);
}

/** A folder that is removed after the test. */
export async function temporaryFolder(after: After): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gatemesh-ca-'));
  after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export interface TestAuthority {
  readonly authority: Authority;
  readonly store: Store;
  readonly dir: string;
}

/** A real authority in a temporary folder, with a registry in memory. */
export async function testAuthority(
  after: After,
  options: { readonly leafTtlMs?: number; readonly clock?: Clock } = {},
): Promise<TestAuthority> {
  const { leafTtlMs = 3_600_000, clock = systemClock } = options;
  const folder = await temporaryFolder(after);
  const dir = join(folder, 'ca');
  const nowMs = clock.wallMs();
  await initAuthority({ dir, trustDomain: TRUST_DOMAIN, passphrase: undefined, nowMs });
  const store = await openEmbeddedStore({ file: ':memory:', log: silentLog });
  const authority = await Authority.open({
    dir,
    passphrase: undefined,
    leafTtlMs,
    store,
    clock,
    log: silentLog,
  });
  after(async () => {
    await authority.close();
    await store.close();
  });
  return { authority, store, dir };
}

/** The client's side without a network: the same questions and answers, and it can be taken away. */
export interface DirectClient extends CertificateAuthorityClient {
  /** Set to make every call fail with it. */
  outage: Error | undefined;
  /** What was asked, in order: `enrol node/vm-a svc/web`. */
  readonly calls: readonly string[];
}

export function directClient(authority: Authority): DirectClient {
  const calls: string[] = [];
  const note = (verb: string, identities: readonly Identity[]): void => {
    calls.push([verb, ...identities.map(({ kind, name }) => `${kind}/${name}`)].join(' '));
    if (client.outage !== undefined) throw client.outage;
  };
  const client: DirectClient = {
    name: 'the CA of the test',
    wantsToken: true,
    outage: undefined,
    calls,
    enrol: async (identities, token) => {
      note('enrol', identities);
      const { wanted, keys } = prepareRequests(identities);
      return joinKeys(await authority.enrol(token ?? '', wanted, 'test'), keys, client.name);
    },
    renew: async (holder, _bundle, identities) => {
      note('renew', identities);
      const { wanted, keys } = prepareRequests(identities);
      const batch = await authority.renew(parseIdentity(holder.identity)!, wanted);
      return joinKeys(batch, keys, client.name);
    },
    bundle: async () => authority.bundle,
    close: async () => {},
  };
  return client;
}
