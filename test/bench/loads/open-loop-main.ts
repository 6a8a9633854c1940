import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { OneAnswer } from './one-answer.ts';
import { OpenLoop, type OpenLoopOptions } from './open-loop.ts';

/** What the program below takes as its one argument, in JSON; it prints an OpenLoopReport, in JSON. */
export interface OpenLoopLoad extends Omit<OpenLoopOptions, 'startMs'> {
  readonly port: number;
  readonly host: string;
  readonly path: string;
}

/** After the last request was due. */
const LAST_ANSWER_MS = 10_000;
const READ_BYTES = 16 * 1024;

if (import.meta.main) await generate(JSON.parse(process.argv[2]!) as OpenLoopLoad);

/**
 * Never sleeps: Node's timers are as coarse as three requests at 3,000/s, so it looks at the clock all the time.
 * It is meant to run under SCHED_IDLE, where anything else on its core goes first.
 */
async function generate({ port, host, path, ...options }: OpenLoopLoad): Promise<void> {
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
  const turn = (): void => {
    let now = performance.now();
    for (let begun = loop.begin(now); begun !== undefined; begun = loop.begin(now)) {
      sockets[begun.connection]!.write(request);
      now = performance.now();
    }
    if (loop.isOver) {
      process.stdout.write(JSON.stringify(loop.report()), () => process.exit(0));
    } else if (now > lastDueMs + LAST_ANSWER_MS) {
      throw new Error(`requests were not answered within ${LAST_ANSWER_MS} ms`);
    } else {
      setImmediate(turn);
    }
  };
  turn();
}
