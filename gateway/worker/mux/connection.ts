import { setImmediate } from 'node:timers';
import type { TLSSocket } from 'node:tls';
import type { MuxStream } from './stream.ts';
import { BadMessage } from '../codec/bad-message.ts';
import { CR, LF } from '../codec/chars.ts';
import { readTrailers } from '../codec/chunked.ts';
import { borrow, LOAN_BYTES, type Loan } from '../loans.ts';
import { readFrom } from '../sockets.ts';
import { Wire } from '../wire.ts';
import {
  FLAG_ACK,
  FLAG_END,
  FRAME_HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  MAX_STREAMS,
  MuxError,
  TYPE,
  WINDOW_BYTES,
} from './frames.ts';

const NOTHING = Buffer.alloc(0);
/** What a peer may leave unread: that windows of all streams are full, and no more. */
const MAX_UNSENT_BYTES = MAX_STREAMS * WINDOW_BYTES;
/** A peer that is quiet this long while streams are open is asked for a sign of life … */
const PING_AFTER_MS = 2_000;
/** … and given up after this. */
const PONG_WITHIN_MS = 1_000;

/**
 * Both ends of a `gatemesh/1` connection: frames in and out. What is written during one turn of the
 * event loop leaves together in `setImmediate`, so that one TLS record and one system call carry
 * many requests; this is what makes two hops cheaper than two proxies.
 */
export abstract class MuxConnection extends Wire {
  protected readonly streams = new Map<number, MuxStream>();
  /** Frames of this turn; undefined when there are none, so that a quiet connection holds no buffer. */
  #loan: Loan | undefined;
  #out: Buffer = NOTHING;
  #used = 0;
  #isFlushScheduled = false;
  readonly #flush = (): void => {
    this.#isFlushScheduled = false;
    this.flush();
  };

  #header = Buffer.alloc(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  #type = 0;
  #flags = 0;
  #id = 0;
  #left = 0;
  #payload: Buffer | undefined;
  #payloadBytes = 0;
  #isInPayload = false;

  /** Bytes came since the last look: kept as a flag, so that reading asks no clock. */
  #hasHeard = false;
  #lastHeardMs = 0;
  #pingSentMs = 0;

  constructor(socket: TLSSocket) {
    super(socket);
    readFrom(socket, this);
  }

  protected abstract onHead(
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
    body: number,
    isEnd: boolean,
  ): void;
  protected abstract onSettings(bytes: Buffer, start: number): void;
  protected abstract onGoaway(lastId: number): void;
  /** A frame for a stream that is not open: fine when it was, an error when it never was. */
  protected abstract wasOpen(id: number): boolean;

  get openStreams(): number {
    return this.streams.size;
  }

  forget(id: number): void {
    this.streams.delete(id);
  }

  /** @returns 'dead' when a peer with open streams does not answer */
  checkAlive(nowMs: number): 'alive' | 'dead' {
    if (this.#hasHeard || this.streams.size === 0) {
      this.#hasHeard = false;
      this.#lastHeardMs = nowMs;
      this.#pingSentMs = 0;
      return 'alive';
    }
    if (this.#pingSentMs > 0) {
      return nowMs - this.#pingSentMs > PONG_WITHIN_MS ? 'dead' : 'alive';
    }
    if (nowMs - this.#lastHeardMs > PING_AFTER_MS) {
      this.#pingSentMs = nowMs;
      this.sendNumber(TYPE.ping, 0, 0, 0);
    }
    return 'alive';
  }

  // === frames out ===

  /** A head and the first body bytes as one frame; at most MAX_DATA_BYTES of body. */
  sendHead(
    id: number,
    head: string,
    bytes: Buffer | undefined,
    start: number,
    end: number,
    isEnd: boolean,
  ): void {
    const body = bytes === undefined ? 0 : end - start;
    const length = 3 + head.length + body;
    let at = this.#frame(length, TYPE.head | (isEnd ? FLAG_END : 0), id);
    this.#out[at] = head.length >>> 16;
    this.#out[at + 1] = head.length >>> 8;
    this.#out[at + 2] = head.length;
    at += 3;
    this.#out.latin1Write(head, at, head.length);
    if (body > 0) bytes!.copy(this.#out, at + head.length, start, end);
  }

  sendData(id: number, bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    const at = this.#frame(end - start, TYPE.data | (isEnd ? FLAG_END : 0), id);
    if (end > start) bytes.copy(this.#out, at, start, end);
  }

  sendTrailers(id: number, trailers: string): void {
    const at = this.#frame(trailers.length, TYPE.end, id);
    this.#out.latin1Write(trailers, at, trailers.length);
  }

  sendReset(id: number, reason: number): void {
    const at = this.#frame(1, TYPE.reset, id);
    this.#out[at] = reason;
  }

  sendNumber(type: number, flags: number, id: number, value: number): void {
    const at = this.#frame(4, type | flags, id);
    this.#out.writeUInt32BE(value >>> 0, at);
  }

  protected sendNumbers(type: number, values: readonly number[]): void {
    let at = this.#frame(values.length * 4, type, 0);
    for (const value of values) at = this.#out.writeUInt32BE(value, at);
  }

  protected flush(): void {
    const used = this.#used;
    if (used === 0) return;
    this.#used = 0;
    // What is written for a connection that has gone meanwhile goes nowhere; and what is left to say when its end was
    // sent is for streams behind GOAWAY, whose caller knows: a write would break what is still under way.
    if (this.isClosed || this.socket.writableEnded) return;
    this.socket.write(this.#out.subarray(0, used), this.#loan?.giveBack);
    this.#loan = undefined;
    this.#out = NOTHING;
    // More than the windows allow: a peer that makes us answer and does not read.
    if (this.socket.writableLength > MAX_UNSENT_BYTES) {
      this.socket.destroy(new MuxError('a peer that does not read what it asks for'));
    }
  }

  /** Reserves a frame in the output and returns where its payload goes. */
  #frame(length: number, typeAndFlags: number, id: number): number {
    const needed = FRAME_HEADER_BYTES + length;
    if (this.#used + needed > this.#out.length) {
      this.flush();
      if (needed > LOAN_BYTES) this.#out = Buffer.allocUnsafeSlow(needed);
      else {
        this.#loan ??= borrow();
        this.#out = this.#loan.bytes;
      }
    }
    if (!this.#isFlushScheduled) {
      this.#isFlushScheduled = true;
      setImmediate(this.#flush);
    }
    const out = this.#out;
    const at = this.#used;
    out[at] = length >>> 16;
    out[at + 1] = length >>> 8;
    out[at + 2] = length;
    out[at + 3] = typeAndFlags;
    out.writeUInt32BE(id, at + 4);
    this.#used = at + needed;
    return at + FRAME_HEADER_BYTES;
  }

  // === frames in ===

  override onBytes(bytes: Buffer, start: number, end: number): void {
    this.#hasHeard = true;
    try {
      let at = start;
      while (at < end && !this.isClosed) {
        at = this.#isInPayload
          ? this.#readPayload(bytes, at, end)
          : this.#readHeader(bytes, at, end);
      }
    } catch (error) {
      if (!(error instanceof MuxError)) throw error;
      this.socket.destroy(error);
    }
  }

  override onDrain(): void {
    for (const stream of this.streams.values()) stream.drained();
  }

  #readHeader(bytes: Buffer, start: number, end: number): number {
    let header = bytes;
    let from = start;
    let at = start + FRAME_HEADER_BYTES;
    if (this.#headerBytes > 0 || at > end) {
      const take = Math.min(FRAME_HEADER_BYTES - this.#headerBytes, end - start);
      bytes.copy(this.#header, this.#headerBytes, start, start + take);
      this.#headerBytes += take;
      at = start + take;
      if (this.#headerBytes < FRAME_HEADER_BYTES) return at;
      header = this.#header;
      from = 0;
      this.#headerBytes = 0;
    }
    this.#left = (header[from]! << 16) | (header[from + 1]! << 8) | header[from + 2]!;
    this.#type = header[from + 3]! & 0x0f;
    this.#flags = header[from + 3]! & 0xf0;
    this.#id = header.readUInt32BE(from + 4);
    if (this.#left > MAX_PAYLOAD_BYTES) throw new MuxError(`a frame of ${this.#left} bytes`);
    this.#isInPayload = true;
    this.#payloadBytes = 0;
    // An empty payload is complete already; the loop would wait for a byte that need not come.
    if (this.#left === 0) this.#frameRead(bytes, at, at);
    return at;
  }

  /** DATA is passed on piece by piece; everything else is small and handed over whole. */
  #readPayload(bytes: Buffer, start: number, end: number): number {
    const take = Math.min(this.#left - this.#payloadBytes, end - start);
    const until = start + take;
    if (this.#type === TYPE.data) {
      this.#payloadBytes += take;
      const isLast = this.#payloadBytes === this.#left;
      if (isLast) this.#isInPayload = false;
      this.#dataRead(bytes, start, until, isLast);
      return until;
    }
    if (this.#payload === undefined && take === this.#left) {
      this.#frameRead(bytes, start, until);
      return until;
    }
    this.#payload ??= Buffer.allocUnsafe(this.#left);
    bytes.copy(this.#payload, this.#payloadBytes, start, until);
    this.#payloadBytes += take;
    if (this.#payloadBytes === this.#left) {
      const payload = this.#payload;
      this.#payload = undefined;
      this.#frameRead(payload, 0, payload.length);
    }
    return until;
  }

  #dataRead(bytes: Buffer, start: number, end: number, isLast: boolean): void {
    const stream = this.#stream();
    if (stream === undefined) return;
    if (end > start) stream.dataArrived(bytes, start, end);
    if (isLast && this.#flags === FLAG_END) stream.endArrived('');
  }

  #frameRead(bytes: Buffer, start: number, end: number): void {
    this.#isInPayload = false;
    switch (this.#type) {
      case TYPE.settings:
        if (end - start < 12) throw new MuxError('SETTINGS is too short');
        this.onSettings(bytes, start);
        break;
      case TYPE.head: {
        if (end - start < 3) throw new MuxError('HEAD is too short');
        const length = (bytes[start]! << 16) | (bytes[start + 1]! << 8) | bytes[start + 2]!;
        const body = start + 3 + length;
        if (body > end) throw new MuxError('HEAD is shorter than its head');
        // The codec relies on it: without, it would read the body's first bytes as the head's last.
        if (length < 2 || bytes[body - 2] !== CR || bytes[body - 1] !== LF)
          throw new MuxError('a head that does not end with its line');
        this.onHead(this.#id, bytes, start + 3, end, body, this.#flags === FLAG_END);
        break;
      }
      case TYPE.data:
        this.#dataRead(bytes, start, end, true);
        break;
      case TYPE.end:
        this.#stream()?.endArrived(trailersIn(bytes, start, end));
        break;
      case TYPE.reset:
        this.#stream()?.resetArrived(end > start ? bytes[start]! : 0);
        break;
      case TYPE.window:
        this.#stream()?.windowArrived(this.#number(bytes, start, end));
        break;
      case TYPE.ping: {
        const value = this.#number(bytes, start, end);
        if (this.#flags !== FLAG_ACK) this.sendNumber(TYPE.ping, FLAG_ACK, 0, value);
        break;
      }
      case TYPE.goaway:
        this.onGoaway(this.#number(bytes, start, end));
        break;
      default:
        throw new MuxError(`a frame of unknown type ${this.#type}`);
    }
  }

  #number(bytes: Buffer, start: number, end: number): number {
    if (end - start !== 4) throw new MuxError(`a frame of type ${this.#type} without its number`);
    return bytes.readUInt32BE(start);
  }

  #stream(): MuxStream | undefined {
    const stream = this.streams.get(this.#id);
    if (stream === undefined && !this.wasOpen(this.#id)) {
      throw new MuxError(`a frame for stream ${this.#id}, which was never opened`);
    }
    return stream;
  }
}

/** They go out as lines of chunked coding: read as strictly as if they had come in that way. */
function trailersIn(bytes: Buffer, start: number, end: number): string {
  if (start === end) return '';
  if (bytes[end - 2] !== CR || bytes[end - 1] !== LF)
    throw new MuxError('trailers that do not end with their line');
  try {
    return readTrailers(bytes, start, end);
  } catch (error) {
    if (error instanceof BadMessage) throw new MuxError(error.message);
    throw error;
  }
}
