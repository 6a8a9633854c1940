/** Consecutive results that flip an instance, each >= 1. */
export interface HealthPolicy {
  /** Successes in a row that make a failing instance passing. */
  readonly rise: number;
  /** Failures in a row that make a passing instance failing. */
  readonly fall: number;
}

/**
 * `unknown` is a real state, not "passing until proven otherwise": a new instance takes no traffic until its
 * first probe returns, and that single result decides.
 *
 * Invariant: `streak` counts results against the current state and is below its threshold.
 */
export type Health =
  | { readonly state: 'unknown' }
  | { readonly state: 'passing'; readonly streak: number }
  | { readonly state: 'failing'; readonly streak: number };

export const UNKNOWN: Health = { state: 'unknown' };

/**
 * The next health after one probe result. Pure: the prober owns timers and sockets, this owns the rules.
 * Returns `health` itself when nothing changed, so callers compare by identity.
 */
export function observe(health: Health, ok: boolean, policy: HealthPolicy): Health {
  switch (health.state) {
    case 'unknown':
      return { state: ok ? 'passing' : 'failing', streak: 0 };

    case 'passing': {
      if (ok) return health.streak === 0 ? health : { state: 'passing', streak: 0 };
      const streak = health.streak + 1;
      return streak >= policy.fall ? { state: 'failing', streak: 0 } : { state: 'passing', streak };
    }

    case 'failing': {
      if (!ok) return health.streak === 0 ? health : { state: 'failing', streak: 0 };
      const streak = health.streak + 1;
      return streak >= policy.rise ? { state: 'passing', streak: 0 } : { state: 'failing', streak };
    }
  }
}

/** While an instance is not passing it is asked at least this often, so that it takes traffic soon after it is well. */
const EAGER_MS = 1_000;
/** Instances that started together must not be probed together for ever. */
const JITTER = 0.1;

/**
 * Milliseconds until the next probe.
 *
 * @param draw from [0, 1)
 */
export function nextProbeMs(health: Health, intervalMs: number, draw: number): number {
  const base = health.state === 'passing' ? intervalMs : Math.min(intervalMs, EAGER_MS);
  return base * (1 - JITTER + 2 * JITTER * draw);
}
