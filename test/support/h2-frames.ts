import net from 'node:net';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
export const FRAME = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  continuation: 9,
} as const;
export const END_STREAM = 1;
export const END_HEADERS = 4;

export type Field = readonly [name: string, value: string];

/** What became of a stream: its status line, or how it ended without one. */
export type Outcome = '200' | 'another status' | 'reset' | 'connection closed';

/** An HTTP/2 client made of bytes, which can say what no library would. */
export class RawH2 {
  readonly socket: net.Socket;
  #received: Buffer = Buffer.alloc(0);
  #isClosed = false;
  readonly #outcomes = new Map<number, Outcome>();
  #nextId = 1;

  constructor(port: number) {
    this.socket = net.connect(port, '127.0.0.1');
    this.socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.socket.on('error', () => {});
    this.socket.on('close', () => (this.#isClosed = true));
    this.socket.write(Buffer.concat([Buffer.from(PREFACE), frame(FRAME.settings, 0, 0)]));
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** HEADERS, and one DATA when there is a body; the stream ends with the last of them. */
  request(fields: readonly Field[], body?: string): number {
    const id = this.#nextId;
    this.#nextId += 2;
    const flags = END_HEADERS | (body === undefined ? END_STREAM : 0);
    const frames = [frame(FRAME.headers, flags, id, headerBlock(fields))];
    if (body !== undefined) frames.push(frame(FRAME.data, END_STREAM, id, Buffer.from(body)));
    this.socket.write(Buffer.concat(frames));
    return id;
  }

  send(type: number, flags: number, id: number, payload?: Buffer): void {
    this.socket.write(frame(type, flags, id, payload));
  }

  /** @returns undefined while nothing came */
  outcome(id: number): Outcome | undefined {
    return this.#outcomes.get(id) ?? (this.#isClosed ? 'connection closed' : undefined);
  }

  close(): void {
    this.socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    for (;;) {
      if (this.#received.length < 9) return;
      const length = this.#received.readUIntBE(0, 3);
      if (this.#received.length < 9 + length) return;
      const type = this.#received[3];
      const id = this.#received.readUInt32BE(5);
      // 0x88 is ":status: 200" in HPACK's static table.
      if (type === FRAME.headers && !this.#outcomes.has(id)) {
        this.#outcomes.set(id, this.#received[9] === 0x88 ? '200' : 'another status');
      }
      if (type === FRAME.reset) this.#outcomes.set(id, 'reset');
      this.#received = this.#received.subarray(9 + length);
    }
  }
}

export function frame(
  type: number,
  flags: number,
  id: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

/** HPACK without indexing and without Huffman coding: whatever bytes are asked for. */
export function headerBlock(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0]), hpackString(name), hpackString(value)]),
  );
}

function hpackString(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}
