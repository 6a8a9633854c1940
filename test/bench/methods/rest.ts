import { residentMb } from '../bed.ts';
import type { Measure } from '../measure.ts';
import type { Stand } from '../stand.ts';
import type { Subject } from '../subjects/subject.ts';

/** Memory of supervisor and workers that have had nothing to do yet: read before any load. */
export function restMeasure(options: {
  readonly name: string;
  readonly title: string;
  readonly atMostMb: number;
  ours(stand: Stand): Promise<Subject>;
}): Measure {
  return {
    name: options.name,
    title: options.title,
    units: [{ key: 'mb', name: 'MB resident', better: 'lower', atMost: options.atMostMb }],
    mostRounds: 1,
    ours: async (stand) => {
      const { name, pids } = await options.ours(stand);
      const mb = residentMb(pids);
      return [{ name, take: () => Promise.resolve({ values: { mb }, seen: {} }) }];
    },
    peers: () => Promise.resolve([]),
  };
}
