import type { Socket } from 'node:net';
import type { ChunkSink } from '../codec/chunked.ts';
import type { HeaderRules } from '../codec/header-rules.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Arrival } from '../request/identify.ts';
import type { Downstream, Failure } from '../request/ports.ts';
import { BadMessage } from '../codec/bad-message.ts';
import { ChunkDecoder } from '../codec/chunked.ts';
import { headEnd } from '../codec/head-end.ts';
import { Exchange } from '../request/exchange.ts';
import { BODY_UNKNOWN } from '../request/ports.ts';
import { refusal } from '../request/respond.ts';
import { clientAddressOf } from '../sockets.ts';
import { Wire } from '../wire.ts';

/** Pipelined bytes held while an answer is under way; past it the client waits. */
const MAX_HELD_BYTES = 65_536;
const HEADER_TIMEOUT_MS = 10_000;
const IDLE_TIMEOUT_MS = 60_000;
/** After our last byte the client gets this long to read it: closing at once with bytes of its unread would be a reset. */
const LINGER_MS = 5_000;
/**
 * A client that has sent its last byte waits for its answer, or is gone: nobody can tell before the next byte to it. One
 * that has gone must not count as a request under way for as long as its service says nothing.
 */
const HALF_OPEN_MS = 2_000;

/** RFC 9113 §3.4: what a client with prior knowledge of HTTP/2 begins with; as HTTP/1.1, the head of no request. */
const PREFACE_HEAD = Buffer.from('PRI * HTTP/2.0\r\n\r\n');

type State = 'head' | 'length' | 'chunked' | 'wait' | 'tunnel' | 'closing';

/**
 * One client's HTTP/1.1 connection: requests in order, one at a time, each handed to the exchange
 * as soon as its head is complete; the body streams behind it.
 */
export class H1Server extends Wire implements Downstream, ChunkSink {
  readonly clientAddress: string;
  readonly #plane: DataPlane;
  readonly #rules: HeaderRules;
  readonly #exchange: Exchange;
  readonly #decoder = new ChunkDecoder();
  readonly #onGone: (connection: H1Server) => void;
  /** Until the first request: only a connection's first bytes may be HTTP/2. */
  #onHttp2: ((first: Buffer) => void) | undefined;
  #state: State = 'head';
  /** Bytes that are not a whole head yet, or belong to the next request. */
  #held: Buffer | undefined;
  #remaining = 0;
  /** The answer's body is being sent in chunks. */
  #sendsChunks = false;
  #closesAfter = false;
  #isAnswered = true;
  /** The empty line before this request is gone already. */
  #hasSkipped = false;
  #clientEnded = false;
  /** Answered, but the client has to read before its next request is looked at. */
  #isBlocked = false;
  /** Not sent as of the last look. */
  #unsent = 0;
  /** Of a client that has sent its last byte: sent to it as of the last look. */
  #written = 0;
  #since: number;

  /** @param onHttp2 takes the socket over, with what was read, when the client begins with HTTP/2 */
  constructor(
    socket: Socket,
    plane: DataPlane,
    arrival: Arrival,
    rules: HeaderRules,
    onGone: (connection: H1Server) => void,
    onHttp2?: (first: Buffer) => void,
  ) {
    super(socket);
    this.clientAddress = clientAddressOf(socket);
    this.#plane = plane;
    this.#rules = rules;
    this.#onGone = onGone;
    this.#onHttp2 = onHttp2;
    this.#exchange = new Exchange(plane, this, arrival);
    this.#since = plane.now();
  }

  /** Called now and then: ends connections that send no whole head in time, or nothing at all, or do not read. */
  checkIdle(nowMs: number): void {
    const unsent = this.socket.writableLength;
    // It reads, however slowly.
    if (unsent < this.#unsent) this.#since = nowMs;
    this.#unsent = unsent;
    const quietMs = nowMs - this.#since;
    if (this.#state === 'closing' || this.#isBlocked) {
      if (quietMs > (unsent > 0 ? IDLE_TIMEOUT_MS : LINGER_MS)) this.destroy();
      return;
    }
    if (this.#clientEnded && this.#state === 'wait') {
      const written = this.socket.bytesWritten;
      if (written !== this.#written) this.#since = nowMs;
      this.#written = written;
      if (nowMs - this.#since > HALF_OPEN_MS) this.destroy();
      return;
    }
    if (this.#state !== 'head') return;
    const isPartial = this.#held !== undefined;
    const limit = isPartial ? HEADER_TIMEOUT_MS : IDLE_TIMEOUT_MS;
    if (quietMs < limit) return;
    if (isPartial) this.#refuse(408, 'the request head did not arrive in time');
    else this.#close();
  }

  /** The listener is going: no further request on this connection. */
  drain(): void {
    this.#closesAfter = true;
    if (this.#state === 'head' && this.#held === undefined && this.#isAnswered) this.#close();
  }

  override onBytes(bytes: Buffer, start: number, end: number): void {
    let from = start;
    try {
      for (;;) {
        switch (this.#state) {
          case 'head': {
            const next = this.#readHead(bytes, from, end);
            if (next < 0) return;
            from = next;
            break;
          }
          case 'length': {
            const until = Math.min(end, from + this.#remaining);
            this.#remaining -= until - from;
            if (this.#remaining === 0) this.#state = 'wait';
            if (until > from) this.#exchange.requestBody(bytes, from, until);
            if (this.#remaining === 0) this.#requestEnded('');
            from = until;
            break;
          }
          case 'chunked':
            from = this.#decoder.feed(bytes, from, end, this);
            if (this.#decoder.done) {
              this.#state = 'wait';
              this.#requestEnded(this.#decoder.trailers);
            }
            break;
          case 'wait':
            this.#hold(bytes, from, end);
            return;
          case 'tunnel':
            this.#exchange.requestBody(bytes, from, end);
            return;
          case 'closing':
            return;
        }
        if (from >= end) return;
      }
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      this.#refuse(error.status, error.message);
    }
  }

  /** Decoded chunk data, from the decoder. */
  data(bytes: Buffer, start: number, end: number): void {
    this.#exchange.requestBody(bytes, start, end);
  }

  override onEnd(): void {
    this.#clientEnded = true;
    if (this.#state === 'tunnel') this.#exchange.requestEnded('');
    else if (this.#state === 'wait') {
      this.#closesAfter = true;
      this.#since = this.#plane.coarseMs;
    } else if (this.#state === 'head' && this.#isAnswered) this.#close();
    else this.destroy();
  }

  override onClosed(): void {
    this.#state = 'closing';
    this.#held = undefined;
    this.#exchange.downstreamGone();
    this.#onGone(this);
  }

  override onDrain(): void {
    if (this.#isBlocked) {
      this.#isBlocked = false;
      this.#nextRequest();
    }
    this.#exchange.downstreamDrained();
  }

  respond(
    head: string,
    length: number,
    declared: number,
    bytes: Buffer | undefined,
    start: number,
    end: number,
    isEnded: boolean,
  ): boolean {
    const request = this.#exchange.requestHead;
    let text = `HTTP/1.1 ${head}`;
    this.#sendsChunks = false;
    if (length >= 0) text += `content-length: ${length}\r\n`;
    else if (declared >= 0) text += `content-length: ${declared}\r\n`;
    else if (length === BODY_UNKNOWN) {
      if (request.isHttp10) this.#closesAfter = true;
      else {
        this.#sendsChunks = true;
        text += 'transfer-encoding: chunked\r\n';
      }
    }
    if (request.closes || this.#plane.isDraining) this.#closesAfter = true;
    // The rest of a body nobody read would be taken for the next request.
    if (isEnded && (this.#state === 'length' || this.#state === 'chunked'))
      this.#closesAfter = true;
    if (this.#closesAfter) text += 'connection: close\r\n';
    else if (request.isHttp10) text += 'connection: keep-alive\r\n';
    text += '\r\n';

    let isFlowing = true;
    if (bytes === undefined || end === start) isFlowing = this.write(text);
    else if (this.#sendsChunks) {
      isFlowing = this.write(
        `${text}${(end - start).toString(16)}\r\n${bytes.latin1Slice(start, end)}\r\n`,
      );
    } else if (end - start <= 16_384) isFlowing = this.write(text + bytes.latin1Slice(start, end));
    else {
      this.write(text);
      isFlowing = this.writeBytes(bytes, start, end);
    }
    if (isEnded) this.respondEnd('');
    return isFlowing;
  }

  respondBody(bytes: Buffer, start: number, end: number): boolean {
    if (start === end) return true;
    if (!this.#sendsChunks) return this.writeBytes(bytes, start, end);
    this.socket.cork();
    this.write(`${(end - start).toString(16)}\r\n`);
    this.writeBytes(bytes, start, end);
    const isFlowing = this.write('\r\n');
    this.socket.uncork();
    return isFlowing;
  }

  respondEnd(trailers: string): void {
    if (this.#sendsChunks) this.write(`0\r\n${trailers}\r\n`);
    this.#isAnswered = true;
    if (this.#state === 'tunnel') {
      this.#close();
      return;
    }
    // A body that is still coming cannot be told from the next request.
    const isUnread = this.#state === 'length' || this.#state === 'chunked';
    if (this.#closesAfter || this.#clientEnded || isUnread) {
      this.#close();
      return;
    }
    if (this.#state === 'wait') this.#nextRequest();
  }

  inform(head: string): void {
    if (!this.#exchange.requestHead.isHttp10) this.write(`HTTP/1.1 ${head}\r\n`);
  }

  readBody(isWanted: boolean): void {
    if (isWanted) this.resume();
    else this.pause();
  }

  abort(_failure: Failure): void {
    // A body that ends with the connection must not look as if this were its end.
    if (this.#exchange.requestHead.isHttp10) this.reset();
    else this.destroy();
  }

  openTunnel(): void {
    this.#state = 'tunnel';
    const held = this.#held;
    this.#held = undefined;
    this.resume();
    if (held !== undefined) this.#exchange.requestBody(held, 0, held.length);
  }

  /** @returns where the body starts, or -1 when the head is not complete or was refused */
  #readHead(bytes: Buffer, start: number, end: number): number {
    let all = bytes;
    let from = start;
    let until = end;
    if (this.#held !== undefined) {
      all = Buffer.concat([this.#held, bytes.subarray(start, end)]);
      from = 0;
      until = all.length;
      this.#held = undefined;
    }
    // RFC 9112 §2.2: one empty line before a request is forgiven; one, however many reads they come in.
    if (!this.#hasSkipped && all[from] === 13 && all[from + 1] === 10 && until - from >= 2) {
      this.#hasSkipped = true;
      from += 2;
    }
    const close = headEnd(all, from, until, 431);
    if (close < 0) {
      if (until > from) {
        refuseBareLineEnds(all, from, until);
        // The time for a head runs from its first byte, not from the end of the request before.
        if (all === bytes) this.#since = this.#plane.coarseMs;
        this.#held = Buffer.from(all.subarray(from, until));
      }
      return -1;
    }
    if (this.#onHttp2 !== undefined) {
      if (all.compare(PREFACE_HEAD, 0, PREFACE_HEAD.length, from, close + 4) === 0) {
        this.#handOver(Buffer.from(all.subarray(from, until)));
        return -1;
      }
      this.#onHttp2 = undefined;
    }
    const head = this.#exchange.requestHead;
    head.parse(all, from, close + 2, this.#rules);
    const body = close + 4;
    if (all === bytes) return this.#begin(bytes, body, end);
    // What came behind a held head lies in the joined buffer: go on in there.
    const next = this.#begin(all, body, until);
    if (next < until) this.onBytes(all, next, until);
    return -1;
  }

  #handOver(first: Buffer): void {
    this.letGo();
    this.#state = 'closing';
    this.#onGone(this);
    this.#onHttp2?.(first);
  }

  #begin(bytes: Buffer, body: number, end: number): number {
    const head = this.#exchange.requestHead;
    this.#isAnswered = false;
    this.#hasSkipped = false;
    if (head.isChunked) {
      this.#state = 'chunked';
      this.#decoder.reset();
      this.#exchange.begin(undefined, 0, 0, false);
      return body;
    }
    const length = Math.max(0, head.contentLength);
    const until = Math.min(end, body + length);
    this.#remaining = length - (until - body);
    this.#state = this.#remaining === 0 ? 'wait' : 'length';
    this.#exchange.begin(bytes, body, until, this.#remaining === 0);
    return until;
  }

  #requestEnded(trailers: string): void {
    this.#exchange.requestEnded(trailers);
    if (this.#isAnswered && this.#state === 'wait') this.#nextRequest();
  }

  #nextRequest(): void {
    this.#since = this.#plane.now();
    if (this.#closesAfter) {
      this.#close();
      return;
    }
    if (this.isClogged) {
      // Answers without a body's back-pressure would pile up for a client that asks and does not read.
      this.#isBlocked = true;
      return;
    }
    this.#state = 'head';
    if (this.#held !== undefined) {
      // Not from inside the answer of the request before: a thousand pipelined requests must not nest a thousand calls.
      queueMicrotask(() => this.#takeHeld());
    } else if (this.#clientEnded) this.#close();
    else this.resume();
  }

  #takeHeld(): void {
    const held = this.#held;
    if (this.isClosed || this.#state !== 'head' || held === undefined) return;
    this.#held = undefined;
    this.onBytes(held, 0, held.length);
    // Not earlier: what a socket that goes on has to say comes before any microtask, and would overtake what is held.
    if (!this.#holdsEnough()) this.resume();
  }

  #close(): void {
    this.#state = 'closing';
    this.#since = this.#plane.coarseMs;
    this.#held = undefined;
    this.#isBlocked = false;
    this.finish();
    this.resume();
  }

  #hold(bytes: Buffer, start: number, end: number): void {
    if (end === start) return;
    const more = bytes.subarray(start, end);
    this.#held = this.#held === undefined ? Buffer.from(more) : Buffer.concat([this.#held, more]);
    if (this.#holdsEnough()) this.pause();
  }

  #holdsEnough(): boolean {
    return this.#held !== undefined && this.#held.length > MAX_HELD_BYTES;
  }

  #refuse(status: number, why: string): void {
    if (this.#state === 'closing') return;
    if (this.#isAnswered) {
      this.write(refusal(status, why));
      this.#exchange.refused(status, why);
    } else this.#exchange.downstreamGone();
    this.#close();
  }
}

/** A head whose lines end in a bare LF never shows its end to us, and may to others: refused at once. */
function refuseBareLineEnds(bytes: Buffer, start: number, end: number): void {
  for (let at = bytes.indexOf(10, start); at >= 0 && at < end; at = bytes.indexOf(10, at + 1)) {
    if (at === start || bytes[at - 1] !== 13) throw new BadMessage(400, 'a line ends in a bare LF');
  }
}
