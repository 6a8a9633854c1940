import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { OneAnswer } from './one-answer.ts';
import { OpenLoop, type OpenLoopOptions, type OpenLoopReport } from './open-loop.ts';

/** What the program below takes as its one argument, in JSON; it prints an OpenLoopRun, in JSON. */
export interface OpenLoopLoad extends Omit<OpenLoopOptions, 'startMs'> {
  readonly port: number;
  readonly host: string;
  readonly path: string;
  /** Processes that belong on the same core: the origin. */
  readonly beside: readonly number[];
}

export interface OpenLoopRun extends OpenLoopReport {
  /** How much of the time its core was with anything but itself and `beside`. */
  readonly awayPercent: number;
}

/** After the last request was due. */
const LAST_ANSWER_MS = 10_000;
const READ_BYTES = 16 * 1024;

if (import.meta.main) await generate(JSON.parse(process.argv[2]!) as OpenLoopLoad);

/**
 * Never sleeps: Node's timers are as coarse as three requests at 3,000/s, so it looks at the clock all the time.
 * It is meant to run under SCHED_IDLE, where anything else on its core goes first.
 */
async function generate({ port, host, path, beside, ...options }: OpenLoopLoad): Promise<void> {
  const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const sockets: Socket[] = [];
  let loop: OpenLoop | undefined;
  for (let connection = 0; connection < options.connections; connection++) {
    const answer = new OneAnswer();
    const read = (size: number, buffer: Uint8Array): boolean => {
      const text = (buffer as Buffer).latin1Slice(0, size);
      if (answer.take(text)) loop!.answered(connection, performance.now());
      return true;
    };
    const onread = { buffer: Buffer.allocUnsafe(READ_BYTES), callback: read };
    const socket = connect({ port, host: '127.0.0.1', noDelay: true, onread });
    await once(socket, 'connect');
    socket.on('close', () => {
      throw new Error('the proxy closed a connection');
    });
    sockets.push(socket);
  }
  const startMs = performance.now() + 10;
  loop = new OpenLoop({ ...options, startMs });
  const lastDueMs = startMs + ((options.warmUp + options.count) * 1e3) / options.perSecond;
  const countedMs = startMs + (options.warmUp * 1e3) / options.perSecond;
  let away: (() => number) | undefined;
  const turn = (): void => {
    let now = performance.now();
    if (now >= countedMs) away ??= watchAway(beside);
    for (let begun = loop.begin(now); begun !== undefined; begun = loop.begin(now)) {
      sockets[begun.connection]!.write(request);
      now = performance.now();
    }
    if (loop.isOver) {
      const run: OpenLoopRun = { ...loop.report(), awayPercent: away!() };
      process.stdout.write(JSON.stringify(run), () => process.exit(0));
    } else if (now > lastDueMs + LAST_ANSWER_MS) {
      throw new Error(`requests were not answered within ${LAST_ANSWER_MS} ms`);
    } else {
      setImmediate(turn);
    }
  };
  turn();
}

/**
 * As this thread always wants to run, what it waited for its core is what everything else had of it (sched-stats: "time spent
 * on the cpu", "time spent waiting on a runqueue", ns).
 *
 * @returns a function that says how many percent of the time since now that was, without `beside`
 */
function watchAway(beside: readonly number[]): () => number {
  const schedstat = (of: string): readonly number[] =>
    readFileSync(`/proc/${of}/schedstat`, 'utf8').split(' ').map(Number);
  const lostNs = (): number =>
    beside.reduce((lost, pid) => lost - schedstat(String(pid))[0]!, schedstat('thread-self')[1]!);
  const [lost, atMs] = [lostNs(), performance.now()];
  return () => (100 * (lostNs() - lost)) / 1e6 / (performance.now() - atMs);
}
