/** Ends a timer; calling it twice, or after the timer fired, is harmless. */
export type Cancel = () => void;

/**
 * Time as the shells see it. Rules (pure folders) take `nowMs` as an argument instead.
 * Durations are measured on the monotonic clock only: a step of the wall clock must not end a lease.
 */
export interface Clock {
  /** Monotonic milliseconds since some fixed moment. */
  now(): number;
  /** Unix time in milliseconds. */
  wallMs(): number;
  /** Calls `fn` once after `ms`. The timer never keeps the process alive by itself. */
  after(ms: number, fn: () => void): Cancel;
}

/** setTimeout fires at once for more than 2^31-1 ms; longer waits are cut here and the caller re-checks. */
const LONGEST_TIMER_MS = 2_147_483_647;

export const systemClock: Clock = {
  now: () => performance.now(),
  wallMs: () => Date.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, Math.min(Math.max(0, ms), LONGEST_TIMER_MS));
    timer.unref();
    return () => clearTimeout(timer);
  },
};
