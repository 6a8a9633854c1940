import { fullJitter } from '#kit/backoff.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import { messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { systemRng } from '#kit/rng.ts';
import type { Store } from '../registry/store/store.ts';
import type { AuthorityDirectory } from './directory.ts';

const RETRY_BASE_MS = 1_000;
const RETRY_MAX_MS = 30_000;

/**
 * Puts the public half of an authority into the registry, for people and for alarms: `ca/roots/<id>` and
 * `ca/issuers/<id>`. Tried until it succeeds. Nobody takes trust from there: whoever can write the registry
 * could otherwise mint identities.
 */
export function publishAuthority(
  directory: AuthorityDirectory,
  store: Store,
  clock: Clock,
  log: Log,
): Cancel {
  let cancelled = false;
  let cancelTimer: Cancel = () => {};
  const attempt = async (number: number): Promise<void> => {
    try {
      for (const [key, value] of documents(directory)) {
        const known = await store.get(key);
        if (cancelled) return;
        if (known?.value !== value) await store.put(key, value);
      }
    } catch (error) {
      if (cancelled) return;
      log.warn(`authority not published in ${store.name} yet: ${messageOf(error)}`);
      const waitMs = fullJitter(number, RETRY_BASE_MS, RETRY_MAX_MS, systemRng);
      cancelTimer = clock.after(waitMs, () => void attempt(number + 1));
    }
  };
  void attempt(0);
  return () => {
    cancelled = true;
    cancelTimer();
  };
}

function documents({ roots, issuer, trustDomain }: AuthorityDirectory): [string, string][] {
  const document = ({ pem, fingerprint, notAfterMs }: (typeof roots)[number]): string =>
    JSON.stringify({
      trustDomain,
      fingerprint,
      notAfter: new Date(notAfterMs).toISOString(),
      pem,
    });
  return [
    ...roots.map((root): [string, string] => [`ca/roots/${root.id}`, document(root)]),
    [`ca/issuers/${issuer.id}`, document(issuer)],
  ];
}
