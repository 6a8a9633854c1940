import type { Address } from '#kit/address.ts';
import type { ChunkSink } from '../codec/chunked.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Failure, ResponseSink, Upstream } from '../request/ports.ts';
import type { Sending } from '../request/attempt.ts';
import type { InstancePool } from './instance-pool.ts';
import { BadMessage } from '../codec/bad-message.ts';
import { ChunkDecoder } from '../codec/chunked.ts';
import { RESPONSE_RULES } from '../codec/header-rules.ts';
import { headEnd } from '../codec/head-end.ts';
import { FAILURES } from '../request/failures.ts';
import { BODY_NONE, BODY_UNKNOWN, MAX_INTERIM } from '../request/ports.ts';
import { dial, readFrom } from '../sockets.ts';
import { Wire } from '../wire.ts';

type State = 'idle' | 'head' | 'length' | 'chunked' | 'until-close' | 'tunnel' | 'dead';

/**
 * One HTTP/1.1 connection to an instance, serving one exchange at a time. The origin is not trusted:
 * anything ambiguous, unasked for or left over ends the connection, so that no byte can reach the
 * next exchange's answer.
 */
export class InstanceConnection extends Wire implements Upstream, ChunkSink {
  idleSinceMs = 0;
  keepAliveMs = Infinity;
  readonly #plane: DataPlane;
  readonly #pool: InstancePool;
  readonly #decoder = new ChunkDecoder();
  #sink: ResponseSink | undefined;
  #state: State = 'idle';
  #isConnected = false;
  #isRequestEnded = true;
  #isLast = false;
  #sendsChunks = false;
  #remaining = 0;
  #interim = 0;
  #held: Buffer | undefined;

  constructor(plane: DataPlane, address: Address, connectTimeoutMs: number, pool: InstancePool) {
    const socket = dial(address);
    super(socket);
    readFrom(socket, this);
    this.#plane = plane;
    this.#pool = pool;
    const timer = setTimeout(() => this.destroy(), connectTimeoutMs);
    socket.once('connect', () => {
      this.#isConnected = true;
      clearTimeout(timer);
    });
    socket.once('close', () => clearTimeout(timer));
  }

  /** Sends one request; the answer goes to `sink`. */
  start(sink: ResponseSink, head: string, sending: Sending): void {
    const { bytes, start, end, isEnded } = sending;
    const request = sink.requestHead;
    this.#sink = sink;
    this.#state = 'head';
    this.#interim = 0;
    this.#isRequestEnded = isEnded;
    this.#sendsChunks = false;
    let text = head;
    this.#isLast = hasOddBody(request.method, request.contentLength, sending);
    if (this.#isLast) text += 'connection: close\r\n';
    if (request.contentLength >= 0) text += `content-length: ${request.contentLength}\r\n`;
    else if (isEnded) {
      if (end > start || request.method === 'POST' || request.method === 'PUT') {
        text += `content-length: ${end - start}\r\n`;
      }
    } else if (!sending.wantsTunnel) {
      this.#sendsChunks = true;
      text += 'transfer-encoding: chunked\r\n';
    }
    text += '\r\n';
    if (bytes === undefined || end === start) this.write(text);
    else if (this.#sendsChunks) {
      this.write(text);
      this.sendBody(bytes, start, end);
    } else if (end - start <= 16_384) this.write(text + bytes.latin1Slice(start, end));
    else {
      this.write(text);
      this.writeBytes(bytes, start, end);
    }
  }

  sendBody(bytes: Buffer, start: number, end: number): boolean {
    if (start === end) return true;
    if (!this.#sendsChunks || this.#state === 'tunnel') return this.writeBytes(bytes, start, end);
    this.socket.cork();
    this.write(`${(end - start).toString(16)}\r\n`);
    this.writeBytes(bytes, start, end);
    const isFlowing = this.write('\r\n');
    this.socket.uncork();
    return isFlowing;
  }

  sendEnd(trailers: string): void {
    if (this.#isRequestEnded) return;
    this.#isRequestEnded = true;
    if (this.#state === 'tunnel') this.finish();
    else if (this.#sendsChunks) this.write(`0\r\n${trailers}\r\n`);
  }

  readBody(isWanted: boolean): void {
    if (isWanted) this.resume();
    else this.pause();
  }

  cancel(): void {
    this.#sink = undefined;
    this.destroy();
  }

  override onBytes(bytes: Buffer, start: number, end: number): void {
    try {
      let from = start;
      while (from < end) {
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
            this.#sink?.responseBody(bytes, from, until);
            from = until;
            if (this.#remaining === 0) this.#answered('', from < end);
            break;
          }
          case 'chunked':
            from = this.#decoder.feed(bytes, from, end, this);
            if (this.#decoder.done) this.#answered(this.#decoder.trailers, from < end);
            break;
          case 'until-close':
          case 'tunnel':
            this.#sink?.responseBody(bytes, from, end);
            return;
          case 'idle':
            // Bytes nobody asked for would be taken for the next exchange's answer.
            this.destroy();
            return;
          case 'dead':
            return;
        }
      }
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      this.#break(FAILURES.badResponse);
    }
  }

  data(bytes: Buffer, start: number, end: number): void {
    this.#sink?.responseBody(bytes, start, end);
  }

  override onEnd(): void {
    if (this.#state === 'until-close' || this.#state === 'tunnel') this.#answered('', true);
    // No answer can come any more, also while our own bytes are stuck.
    else this.destroy();
  }

  override onClosed(): void {
    this.#pool.forget(this);
    const sink = this.#sink;
    this.#sink = undefined;
    const wasBusy = this.#state !== 'idle' && this.#state !== 'dead';
    this.#state = 'dead';
    if (!wasBusy) return;
    sink?.upstreamFailed(this.#isConnected ? FAILURES.closed : FAILURES.connect);
  }

  override onDrain(): void {
    this.#sink?.upstreamDrained();
  }

  /** @returns where the body starts; -1 when the head is not complete, or all was eaten */
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
    const close = headEnd(all, from, until, 502);
    if (close < 0) {
      this.#held = Buffer.from(all.subarray(from, until));
      return -1;
    }
    const sink = this.#sink!;
    sink.responseHead.parse(all, from, close + 2, RESPONSE_RULES);
    const next = this.#begin(sink, all, close + 4, until);
    if (all === bytes) return next;
    if (next >= 0 && next < until) this.onBytes(all, next, until);
    return -1;
  }

  /** Decides the body's framing (RFC 9112 §6.3) and hands head and first bytes on in one go. */
  #begin(sink: ResponseSink, bytes: Buffer, body: number, end: number): number {
    const { responseHead: head, requestHead: request } = sink;
    if (head.status < 200) return this.#interimAnswer(sink, bytes, body, end);
    if (head.keepAliveSeconds > 0)
      this.keepAliveMs = Math.max(500, (head.keepAliveSeconds - 1) * 1000);
    if (request.method === 'HEAD' || head.status === 204 || head.status === 304) {
      const isFramed = head.status === 204 && (head.isChunked || head.contentLength > 0);
      this.#release(body < end || isFramed);
      sink.responseStarted(bytes, body, body, true, BODY_NONE);
      return body < end ? -1 : body;
    }
    if (head.isChunked) {
      this.#state = 'chunked';
      this.#decoder.reset();
      sink.responseStarted(bytes, body, body, false, BODY_UNKNOWN);
      return body;
    }
    if (head.contentLength < 0) {
      this.#state = 'until-close';
      sink.responseStarted(bytes, body, end, false, BODY_UNKNOWN);
      return end;
    }
    const until = Math.min(end, body + head.contentLength);
    this.#remaining = head.contentLength - (until - body);
    if (this.#remaining > 0) {
      this.#state = 'length';
      sink.responseStarted(bytes, body, until, false, head.contentLength);
      return until;
    }
    this.#release(until < end);
    sink.responseStarted(bytes, body, until, true, head.contentLength);
    return until < end ? -1 : until;
  }

  #interimAnswer(sink: ResponseSink, bytes: Buffer, body: number, end: number): number {
    const { responseHead: head, requestHead: request } = sink;
    // RFC 9110 §8.6: they have no body, and some reader would look for one.
    if (head.isChunked || head.contentLength > 0) {
      throw new BadMessage(502, 'an interim answer with the length of a body');
    }
    if (head.status === 101) {
      if (request.upgrade === '' || head.upgrade !== request.upgrade) {
        throw new BadMessage(502, '101 for a protocol that was not asked for');
      }
      this.#state = 'tunnel';
      sink.tunnelOpened(bytes, body, end);
      return end;
    }
    if (++this.#interim > MAX_INTERIM) throw new BadMessage(502, 'too many interim answers');
    // Ours was sent already when the client waited for one.
    if (head.status !== 100) sink.informed();
    return body;
  }

  #answered(trailers: string, hasLeftover: boolean): void {
    const sink = this.#sink;
    this.#release(hasLeftover);
    sink?.responseEnded(trailers);
  }

  /** The answer is through: back to the pool, or closed when anything is not as it should be. */
  #release(hasLeftover: boolean): void {
    const head = this.#sink?.responseHead;
    const isClean =
      head !== undefined &&
      !hasLeftover &&
      !head.closes &&
      !this.#isLast &&
      this.#isRequestEnded &&
      this.#state !== 'until-close' &&
      this.#state !== 'tunnel';
    this.#sink = undefined;
    if (isClean) {
      this.#state = 'idle';
      this.idleSinceMs = this.#plane.now();
      this.resume();
      this.#pool.giveBack(this);
    } else {
      this.#state = 'dead';
      this.destroy();
    }
  }

  #break(failure: Failure): void {
    const sink = this.#sink;
    this.#sink = undefined;
    this.#state = 'dead';
    this.destroy();
    sink?.upstreamFailed(failure);
  }
}

/**
 * A body where servers look for none: one that does not read it takes it for the next request, so nothing follows it on
 * the connection, and the server is told so.
 */
function hasOddBody(method: string, contentLength: number, sending: Sending): boolean {
  if (method !== 'GET' && method !== 'HEAD' && method !== 'DELETE') return false;
  return contentLength > 0 || (!sending.isEnded && !sending.wantsTunnel);
}
