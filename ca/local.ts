import { systemClock, type Clock } from '#kit/clock.ts';
import { MeshError } from '#kit/errors.ts';
import { createLog, type Log } from '#kit/log.ts';
import type { Store } from '../registry/store/store.ts';
import { Authority } from './authority.ts';
import { joinKeys, prepareRequests, type CertificateAuthorityClient } from './authority-client.ts';
import { authorityExists, initAuthority } from './directory.ts';
import { DEFAULT_LEAF_TTL_MS } from './policy.ts';
import { publishAuthority } from './publish.ts';

/**
 * The authority inside the process, for a mesh on one machine with the embedded registry. Made on first use.
 *
 * @throws MeshError `ca_damaged`, `ca_key_unreadable`, `ca_dir_unwritable`, `trust_domain_mismatch`
 */
export async function openLocalCa(options: {
  readonly dir: string;
  readonly trustDomain: string;
  readonly store: Store;
  readonly leafTtlMs?: number;
  readonly clock?: Clock;
  readonly log?: Log;
}): Promise<CertificateAuthorityClient> {
  const { dir, trustDomain, store, leafTtlMs = DEFAULT_LEAF_TTL_MS } = options;
  const { clock = systemClock, log = createLog() } = options;
  if (!(await authorityExists(dir))) await initOnce(dir, trustDomain, clock.wallMs());
  const authority = await Authority.open({
    dir,
    passphrase: undefined,
    leafTtlMs,
    store,
    clock,
    log,
  });
  if (authority.bundle.trustDomain !== trustDomain) {
    const made = authority.bundle.trustDomain;
    await authority.close();
    throw new MeshError(
      'trust_domain_mismatch',
      `the authority in ${dir} was made for the trust domain "${made}", this mesh is "${trustDomain}". Change the trust domain back, or move ${dir} away to start with a new authority`,
    );
  }
  const stopPublishing = publishAuthority(authority.directory, store, clock, log);
  const name = `the CA in ${dir}`;
  const grant: CertificateAuthorityClient['enrol'] = async (identities) => {
    const { wanted, keys } = prepareRequests(identities);
    return joinKeys(await authority.grant(wanted), keys, name);
  };
  return {
    name,
    wantsToken: false,
    enrol: grant,
    renew: (_holder, _bundle, identities) => grant(identities, undefined),
    bundle: async () => authority.bundle,
    close: async () => {
      stopPublishing();
      await authority.close();
    },
  };
}

/** Several processes may come first at once: one makes it, the others use it. */
async function initOnce(dir: string, trustDomain: string, nowMs: number): Promise<void> {
  try {
    await initAuthority({ dir, trustDomain, passphrase: undefined, nowMs });
  } catch (error) {
    if (!(error instanceof MeshError && error.code === 'ca_exists')) throw error;
    if (!(await authorityExists(dir))) throw error;
  }
}
