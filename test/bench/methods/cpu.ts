import { cpuSeconds, ownCpuSeconds } from '../bed.ts';
import type { Entrant, Measure, Sample, Unit } from '../measure.ts';
import type { Stand } from '../stand.ts';
import type { Subject } from '../subjects/subject.ts';

/** What a load did. */
export interface Driven {
  /** Answered ones; or connections, where those are counted. */
  readonly requests: number;
  readonly seen: Sample['seen'];
}

/** Keeps a subject busy from one core for so many seconds. @throws when anything went wrong with any request */
export type Driver = (subject: Subject, core: number, seconds: number) => Promise<Driven>;

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
async function take(
  { bed, pace: { seconds } }: Stand,
  subject: Subject,
  load: Driver,
  unit: CpuUnit,
): Promise<Sample> {
  const core = bed.cores.load;
  await load(subject, core, Math.max(1, Math.round(seconds / 5)));
  const [all, aside] = [cpuSeconds(subject.pids), ownCpuSeconds(subject.aside)];
  const { requests, seen } = await load(subject, core, seconds);
  const asideSeconds = ownCpuSeconds(subject.aside) - aside;
  const own = cpuSeconds(subject.pids) - all - asideSeconds;
  const beside = { 'supervisor µs/request': (asideSeconds * 1e6) / requests };
  return {
    values: { [unit.key]: unit.value(requests, own) },
    seen: { ...seen, ...(subject.aside.length === 0 ? {} : beside), 'CPU s': own },
  };
}
