import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { OneAnswer } from './one-answer.ts';

/** What the program below is told, again and again: open so many more. */
export interface OpenMore {
  readonly port: number;
  readonly tls: boolean;
  readonly count: number;
}

/** What it answers, and says by itself whenever one is closed. */
export interface Held {
  readonly open: number;
  readonly closed: number;
}

/** Connections being opened at the same time. */
const AT_ONCE = 32;
/** More than one loopback address to come from: the ports of one would not be free again for the next round. */
const ADDRESSES = 8;
const REQUEST = 'GET / HTTP/1.1\r\nHost: b.mesh\r\n\r\n';

let open = 0;
let closed = 0;
let begun = 0;

if (import.meta.main) {
  process.on('message', (more: OpenMore) => {
    void Promise.all(Array.from({ length: AT_ONCE }, (_, at) => openShare(more, at))).then(tell);
  });
  // Whoever asked is gone.
  process.on('disconnect', () => process.exit(0));
}

async function openShare(more: OpenMore, at: number): Promise<void> {
  for (let count = at; count < more.count; count += AT_ONCE) await openOne(more);
}

/** Opens one, makes one request on it, and leaves it open. */
async function openOne({ port, tls }: OpenMore): Promise<void> {
  const localAddress = `127.0.1.${1 + (begun++ % ADDRESSES)}`;
  const ends = { port, host: '127.0.0.1', localAddress };
  // The certificate is from a root that nobody knows; what is measured is the memory of the other side.
  const socket = tls
    ? connectTls({ ...ends, servername: 'b.mesh', rejectUnauthorized: false })
    : connect(ends);
  await once(socket, tls ? 'secureConnect' : 'connect');
  const answer = new OneAnswer();
  const answered = new Promise<void>((resolve) => {
    socket.on('data', (bytes) => {
      if (answer.take(bytes.toString('latin1'))) resolve();
    });
  });
  socket.write(REQUEST);
  await answered;
  open++;
  socket.on('error', () => undefined);
  socket.on('close', () => {
    open--;
    closed++;
    tell();
  });
}

function tell(): void {
  process.send!({ open, closed } satisfies Held);
}
