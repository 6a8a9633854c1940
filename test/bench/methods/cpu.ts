import type { Bed } from '../bed.ts';
import { WAITED, watchCore } from '../core-watch.ts';
import type { Entrant, Measure, Sample, Unit } from '../measure.ts';
import type { Stand } from '../stand.ts';
import type { Subject } from '../subjects/subject.ts';

/** What a load did. */
export interface Driven {
  /** Answered ones; or connections, where those are counted. */
  readonly requests: number;
  readonly seen: Sample['seen'];
}

/** Keeps a subject busy from the load's core for so many seconds. @throws when anything went wrong with any request */
export type Driver = (subject: Subject, bed: Bed, seconds: number) => Promise<Driven>;

/** A figure made of processor time: what a proxy costs, which stays comparable when the machine is noisy. */
export interface CpuUnit extends Unit {
  value(requests: number, cpuSeconds: number): number;
}

export const COST: CpuUnit = {
  key: 'cost',
  name: 'µs CPU/request',
  better: 'lower',
  value: (requests, seconds) => (seconds * 1e6) / requests,
};

export function throughput(bytes: number): CpuUnit {
  return {
    key: 'throughput',
    name: 'GB/CPU-second',
    better: 'higher',
    value: (requests, seconds) => (requests * bytes) / 1e9 / seconds,
  };
}

export const CONNECTIONS: CpuUnit = {
  key: 'connections',
  name: 'connections/CPU-second',
  better: 'higher',
  value: (connections, seconds) => connections / seconds,
};

export interface CpuMeasure {
  readonly name: string;
  readonly title: string;
  readonly unit?: CpuUnit;
  readonly load: Driver;
  ours(stand: Stand): Promise<readonly Subject[]>;
  peers(stand: Stand): Promise<readonly { readonly subject: Subject; readonly target?: number }[]>;
}

/** Processor time of ours and peers under one load. */
export function cpuMeasure({ name, title, unit = COST, load, ours, peers }: CpuMeasure): Measure {
  const enter = (stand: Stand, subject: Subject): Entrant => ({
    name: subject.name,
    take: () => take(stand, subject, load, unit),
  });
  return {
    name,
    title,
    units: [unit],
    ours: async (stand) => (await ours(stand)).map((subject) => enter(stand, subject)),
    peers: async (stand) =>
      (await peers(stand)).map(({ subject, ...rest }) => ({
        entrant: enter(stand, subject),
        ...rest,
      })),
  };
}

/** After a warm-up a fifth as long. */
async function take(stand: Stand, subject: Subject, load: Driver, unit: CpuUnit): Promise<Sample> {
  const { bed, pace } = stand;
  await load(subject, bed, Math.max(1, Math.round(pace.seconds / 5)));
  const use = watchCore(subject);
  const { requests, seen } = await load(subject, bed, pace.seconds);
  const { own, aside, waitedPercent } = use();
  const beside = { 'supervisor µs/request': (aside * 1e6) / requests };
  return {
    values: { [unit.key]: unit.value(requests, own) },
    seen: {
      ...seen,
      ...(subject.aside.length === 0 ? {} : beside),
      [WAITED]: waitedPercent,
    },
  };
}
