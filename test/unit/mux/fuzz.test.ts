import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { MuxConnection } from '../../../gateway/worker/mux/connection.ts';
import { MuxStream } from '../../../gateway/worker/mux/stream.ts';
import { frame, headFrame, numberFrame } from '../../support/mux-peer.ts';

const SEED = Number(process.env['GATEMESH_FUZZ_SEED'] ?? 20_261_122);

/** Writes down what the decoder tells it. */
class Recorder extends MuxConnection {
  readonly heard: string[] = [];
  #lastId = 0;
  constructor(socket: Duplex) {
    super(socket as TLSSocket);
  }
  protected override onHead(
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
    body: number,
    isEnd: boolean,
  ): void {
    this.heard.push(
      `head ${id} ${bytes.latin1Slice(start, body)}|${bytes.latin1Slice(body, end)} ${isEnd}`,
    );
    this.#lastId = Math.max(this.#lastId, id);
    const stream = new RecorderStream(this, this.heard);
    stream.id = id;
    this.streams.set(id, stream);
  }
  protected override onSettings(bytes: Buffer, start: number): void {
    this.heard.push(`settings ${bytes.readUInt32BE(start)}`);
  }
  protected override onGoaway(lastId: number): void {
    this.heard.push(`goaway ${lastId}`);
  }
  protected override wasOpen(id: number): boolean {
    return id <= this.#lastId;
  }
  override onEnd(): void {}
  override onClosed(error: Error | undefined): void {
    this.heard.push(`closed ${error?.message}`);
  }
}

class RecorderStream extends MuxStream {
  readonly #heard: string[];
  constructor(connection: MuxConnection, heard: string[]) {
    super(connection);
    this.#heard = heard;
  }
  protected override onData(bytes: Buffer, start: number, end: number): void {
    // Pieces of one frame count as one, since where the network cuts is no part of the protocol.
    const text = bytes.latin1Slice(start, end);
    const last = this.#heard.length - 1;
    if (this.#heard[last]?.startsWith(`data ${this.id} `) === true) this.#heard[last] += text;
    else this.#heard.push(`data ${this.id} ${text}`);
  }
  protected override onEnd(trailers: string): void {
    this.#heard.push(`end ${this.id} ${trailers}`);
  }
  override resetArrived(reason: number): void {
    this.#heard.push(`reset ${this.id} ${reason}`);
    this.connection.forget(this.id);
  }
  override connectionLost(): void {}
  protected override onSendable(): void {}
}

const id = fc.constantFrom(0, 1, 2, 3, 0xffffffff);
const bytes = (max: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength: max }).map((all) => Buffer.from(all));
const anyFrame = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(id, fc.constantFrom('', 'body'))
      .map(([n, body]) => headFrame(n, 'GET / HTTP/1.1\r\nhost: a\r\n', body)),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.nat({ max: 15 }), id, bytes(20), fc.constantFrom(0, 0x10, 0x80))
      .map(([type, n, payload, flags]) => frame(type, n, payload, flags)),
  },
  { weight: 3, arbitrary: fc.tuple(id, bytes(300)).map(([n, payload]) => frame(2, n, payload)) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(id, fc.constantFrom('', 'x-a: b\r\n', 'x-a: b', '\r\n', 'host: a\r\n'))
      .map(([n, text]) => frame(3, n, text)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(5, 6, 7), id, fc.nat())
      .map(([type, n, value]) => numberFrame(type, n, value)),
  },
  { weight: 1, arbitrary: bytes(12) },
);

describe(`the frame decoder, seed ${SEED}`, () => {
  it('reads the same however the network cuts, and throws nothing', async () => {
    const decode = async (all: Buffer, cuts: readonly number[]): Promise<readonly string[]> => {
      const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
      const recorder = new Recorder(socket);
      let at = 0;
      for (const cut of [
        ...cuts.map((c) => c % (all.length + 1)).toSorted((x, y) => x - y),
        all.length,
      ]) {
        const piece = Buffer.from(all.subarray(at, cut));
        if (!socket.destroyed) recorder.onBytes(piece, 0, piece.length);
        at = cut;
      }
      await new Promise((resolve) => setImmediate(resolve));
      socket.destroy();
      await new Promise((resolve) => setImmediate(resolve));
      return recorder.heard;
    };
    let longest = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyFrame, { maxLength: 12 }),
        fc.array(fc.nat({ max: 2000 }), { maxLength: 10 }),
        async (frames, cuts) => {
          const all = Buffer.concat(frames);
          const whole = await decode(all, []);
          longest = Math.max(longest, whole.length);
          assert.deepEqual(await decode(all, cuts), whole);
        },
      ),
      { seed: SEED, numRuns: 1000 },
    );
    assert.ok(longest > 5, 'hardly anything got through');
  });
});
