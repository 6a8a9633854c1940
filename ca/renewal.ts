import { fullJitter } from '#kit/backoff.ts';
import type { Rng } from '#kit/rng.ts';
import { BACKDATE_MS } from './policy.ts';

/** When to renew a certificate. Pure: wall time and randomness are arguments. */

export interface Life {
  /** Unix ms, as in the certificate. */
  readonly notBeforeMs: number;
  /** Unix ms. */
  readonly notAfterMs: number;
}

/** Of a life: half leaves as much for the authority to be away as has passed. */
const RENEW_AT = 0.5;
/** A fleet that was enrolled together must not come back together (SPIRE rotates at half life, +-10 %). */
const JITTER = 0.1;
/** Below this share of life left, failing to renew is an alarm. */
const URGENT_BELOW = 0.25;

const RETRY_BASE_MS = 1_000;
const RETRY_MAX_MS = 300_000;

export type RenewalState =
  /** Nothing to do. */
  | 'fresh'
  /** Half of its life is over. */
  | 'due'
  /** Less than a quarter of its life is left. */
  | 'urgent'
  /** No longer accepted by anybody: it cannot renew itself either. */
  | 'expired';

/** The moment it was issued: `notBefore` is dated back against clock differences, which is no part of its life. */
function issuedAtMs({ notBeforeMs, notAfterMs }: Life): number {
  return Math.min(notBeforeMs + BACKDATE_MS, notAfterMs);
}

/**
 * When to renew: half of the life after it was issued, moved by up to 10 % of the life either way.
 *
 * @param draw from [0, 1), drawn once per certificate
 * @returns unix ms, before `notAfterMs`
 */
export function renewAtMs(life: Life, draw: number): number {
  const start = issuedAtMs(life);
  const length = life.notAfterMs - start;
  return start + length * (RENEW_AT + JITTER * (2 * draw - 1));
}

/**
 * A clock that jumped back before `notBefore` makes a certificate `due`: either this clock was wrong when it was issued or
 * it is wrong now, and only the authority can tell.
 */
export function judgeRenewal(life: Life, renewAt: number, nowMs: number): RenewalState {
  if (nowMs >= life.notAfterMs) return 'expired';
  const start = issuedAtMs(life);
  if (life.notAfterMs - nowMs < (life.notAfterMs - start) * URGENT_BELOW) return 'urgent';
  return nowMs >= renewAt || nowMs < life.notBeforeMs ? 'due' : 'fresh';
}

/**
 * The wait after a failed attempt: full jitter from one second up to five minutes, and never more than an eighth of
 * what is left, so that the last quarter of a short life still holds several tries.
 *
 * @param attempt 0 after the first failure
 * @param leftMs until the certificate ends; undefined when there is none
 */
export function renewalRetryMs(attempt: number, leftMs: number | undefined, rng: Rng): number {
  const ceiling =
    leftMs === undefined
      ? RETRY_MAX_MS / 10
      : Math.min(RETRY_MAX_MS, Math.max(leftMs / 8, RETRY_BASE_MS / 4));
  return fullJitter(attempt, Math.min(RETRY_BASE_MS, ceiling), ceiling, rng);
}
