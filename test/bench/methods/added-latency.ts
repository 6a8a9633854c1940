import { WAITED, watchCore } from '../core-watch.ts';
import { processTree } from '../bed.ts';
import { fixedRate, type FixedRate } from '../loads/fixed-rate.ts';
import type { OpenLoopRun } from '../loads/open-loop-main.ts';
import type { Entrant, Measure, Sample } from '../measure.ts';
import type { Stand } from '../stand.ts';
import { startOrigin } from '../subjects/origin.ts';
import type { Subject } from '../subjects/subject.ts';

const RATE = { perSecond: 3_000, connections: 64 } as const;
/** A hundredth of the requests makes the p99: more of them than a round of processor time needs. */
const LONGER = 2.5;

/** What a proxy adds to p99 and p50 at a fixed rate: through it less without it, both in the same round. */
export function addedLatencyMeasure(options: {
  readonly name: string;
  readonly title: string;
  ours(stand: Stand): Promise<readonly Subject[]>;
  peers(stand: Stand): Promise<readonly { readonly subject: Subject; readonly target?: number }[]>;
}): Measure {
  let direct: OpenLoopRun | undefined;
  const enter = (stand: Stand, subject: Subject): Entrant => ({
    name: subject.name,
    take: async () => {
      const use = watchCore(subject);
      const { values, seen } = added(await run(stand, subject), direct!);
      return { values, seen: { ...seen, [WAITED]: use().waitedPercent } };
    },
  });
  return {
    name: options.name,
    title: options.title,
    units: [
      { key: 'p99', name: 'µs added at p99', better: 'lower' },
      { key: 'p50', name: 'µs added at p50', better: 'lower' },
    ],
    ours: async (stand) => (await options.ours(stand)).map((subject) => enter(stand, subject)),
    peers: async (stand) =>
      (await options.peers(stand)).map(({ subject, ...rest }) => ({
        entrant: enter(stand, subject),
        ...rest,
      })),
    // Without any proxy nothing is added; what it says instead is what noise adds.
    controls: async (stand) => [enter(stand, (await stand.use(startOrigin)).subject)],
    beginRound: async (stand) => {
      direct = await run(stand, (await stand.use(startOrigin)).subject);
    },
  };
}

async function run(stand: Stand, subject: Subject): Promise<OpenLoopRun> {
  const { bed, pace } = stand;
  const rate: FixedRate = { ...RATE, seconds: Math.ceil(pace.seconds * LONGER) };
  const origin = (await stand.use(startOrigin)).subject;
  return await fixedRate(subject, rate, bed.cores.load, processTree(origin.pids));
}

/** @param through a proxy, in the same round as `direct` */
export function added(through: OpenLoopRun, direct: OpenLoopRun): Sample {
  return {
    values: { p99: through.p99 - direct.p99, p50: through.p50 - direct.p50 },
    seen: {
      p50: through.p50,
      p99: through.p99,
      max: through.max,
      'without proxy p50': direct.p50,
      'without proxy p99': direct.p99,
      'generator late p50': through.lateP50,
      'generator late p99': through.lateP99,
      'waited for a connection': through.waited,
      "others on the load's core %": through.awayPercent,
    },
  };
}
