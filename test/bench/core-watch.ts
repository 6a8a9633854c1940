import { cpuSeconds, ownCpuSeconds, waitedSeconds } from './bed.ts';
import type { Subject } from './subjects/subject.ts';

/** Where samples say `waitedPercent`. */
export const WAITED = 'waited for its core %';

/** What became of a subject and its core in a stretch of time. */
export interface CoreUse {
  /** Processor time in seconds of the subject, without what stands aside. */
  readonly own: number;
  /** Of its processes that carry no traffic. */
  readonly aside: number;
  /** How much of the time its threads could have run but something else did: where that is much, the machine was busy. */
  readonly waitedPercent: number;
}

/** Looks at a subject now, and again when the function it gives is called. */
export function watchCore({ pids, aside }: Subject): () => CoreUse {
  const look = () => {
    const supervisor = ownCpuSeconds(aside);
    return {
      own: cpuSeconds(pids) - supervisor,
      aside: supervisor,
      waited: waitedSeconds(pids, aside),
      at: performance.now() / 1e3,
    };
  };
  const before = look();
  return () => {
    const after = look();
    return {
      own: after.own - before.own,
      aside: after.aside - before.aside,
      waitedPercent: (100 * (after.waited - before.waited)) / (after.at - before.at),
    };
  };
}
