import type { Rng } from './rng.ts';

/**
 * Full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog 2015): a wait drawn from
 * (0, min(maxMs, baseMs * 2^attempt)], so that a fleet that lost its server together does not return together.
 *
 * @param attempt 0 for the first retry
 */
export function fullJitter(attempt: number, baseMs: number, maxMs: number, rng: Rng): number {
  const ceiling = Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
  return Math.max(1, Math.ceil(ceiling * rng()));
}
