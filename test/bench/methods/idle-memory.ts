import { setTimeout as delay } from 'node:timers/promises';
import { anonymousBytes, openFilesLimit } from '../bed.ts';
import { IdleConnections } from '../loads/idle-connections.ts';
import type { Entrant, Measure, Sample } from '../measure.ts';
import type { Stand } from '../stand.ts';
import type { Fresh } from '../subjects/subject.ts';

/** Opened first, and left open: what the first connections need once is not what the next ones cost. */
const FIRST = 1_000;
const COUNTED = 10_000;
/** With `--quick` a tenth of both. */
const QUICK = 10;
/** Files that a worker has open besides: connections to the origin, pipes, the program. */
const OTHER_FILES = 500;
const LOOK_MS = 1_000;
const LONGEST_REST_MS = 20_000;

/** How much the memory of the processes that carry traffic grows with each connection that rests after one request. */
export function idleMemoryMeasure(options: {
  readonly name: string;
  readonly title: string;
  readonly atMostKb: number;
  readonly tls: boolean;
  ours(stand: Stand): Promise<readonly Fresh[]>;
  peers(stand: Stand): Promise<readonly Fresh[]>;
}): Measure {
  const { name, title, atMostKb, tls } = options;
  const enter = (stand: Stand, fresh: Fresh): Entrant => ({
    name: fresh.name,
    take: () => take(stand, fresh, tls),
  });
  return {
    name,
    title,
    units: [{ key: 'kb', name: 'kB/connection', better: 'lower', atMost: atMostKb }],
    // It takes a minute, and one round is hardly different from another.
    mostRounds: 3,
    ours: async (stand) => (await options.ours(stand)).map((fresh) => enter(stand, fresh)),
    peers: async (stand) =>
      (await options.peers(stand)).map((fresh) => ({ entrant: enter(stand, fresh) })),
  };
}

async function take({ bed, pace }: Stand, fresh: Fresh, tls: boolean): Promise<Sample> {
  const divisor = pace.quick ? QUICK : 1;
  const [first, counted] = [FIRST / divisor, COUNTED / divisor];
  const files = first + counted + OTHER_FILES;
  if (openFilesLimit() < files) {
    throw new Error(
      `needs ${files} open files, ${openFilesLimit()} are allowed: ulimit -Hn ${files}`,
    );
  }
  const { port, pids, aside } = await fresh.start();
  const connections = new IdleConnections(bed.cores.load);
  try {
    const memory = (): number => anonymousBytes(pids, aside);
    await connections.open({ port, tls, count: first });
    const before = await settled(memory);
    const began = performance.now();
    await connections.open({ port, tls, count: counted });
    const openedSeconds = (performance.now() - began) / 1e3;
    const after = await settled(memory);
    // A gateway ends a connection that idles for 60 s; one that is gone has given its memory back.
    connections.check();
    return {
      values: { kb: (after - before) / counted / 1e3 },
      seen: {
        'first MB': before / 1e6,
        'then MB': after / 1e6,
        'opened in s': openedSeconds,
      },
    };
  } finally {
    await connections.end();
    for (const pid of pids) await bed.stop(pid);
  }
}

/** What `bytes` gives once it has hardly moved for three looks. */
async function settled(bytes: () => number): Promise<number> {
  const until = performance.now() + LONGEST_REST_MS;
  let seen = [bytes()];
  while (performance.now() < until) {
    await delay(LOOK_MS);
    seen = [...seen.slice(-3), bytes()];
    if (seen.length === 4 && Math.max(...seen) - Math.min(...seen) < 0.005 * seen[0]!) break;
  }
  return seen.at(-1)!;
}
