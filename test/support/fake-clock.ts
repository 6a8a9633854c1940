import type { Clock } from '../../registry/kit/clock.ts';

export interface FakeClock extends Clock {
  /** Moves time on and fires, in order, what falls due; what that starts may fire too. */
  advance(ms: number): void;
  /** Like `advance`, letting promises settle before each timer and after the last. */
  advanceAsync(ms: number): Promise<void>;
}

interface Timer {
  readonly dueMs: number;
  readonly fn: () => void;
}

/** A clock that stands still until it is moved. Wall time starts at `startWallMs` and runs along. */
export function fakeClock(startWallMs = Date.UTC(2026, 0, 1)): FakeClock {
  const timers = new Set<Timer>();
  let nowMs = 0;

  const fireNext = (untilMs: number): boolean => {
    let next: Timer | undefined;
    for (const timer of timers) {
      if (timer.dueMs <= untilMs && (next === undefined || timer.dueMs < next.dueMs)) next = timer;
    }
    if (next === undefined) return false;
    timers.delete(next);
    nowMs = Math.max(nowMs, next.dueMs);
    next.fn();
    return true;
  };

  return {
    now: () => nowMs,
    wallMs: () => startWallMs + nowMs,
    after(ms, fn) {
      const timer = { dueMs: nowMs + Math.max(0, ms), fn };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    advance(ms) {
      const untilMs = nowMs + ms;
      while (fireNext(untilMs));
      nowMs = untilMs;
    },
    async advanceAsync(ms) {
      const untilMs = nowMs + ms;
      do await settle();
      while (fireNext(untilMs));
      nowMs = untilMs;
      await settle();
    },
  };
}

/** Lets everything run that waits for promises only. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
