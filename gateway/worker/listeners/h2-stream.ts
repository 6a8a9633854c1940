import { constants, type ServerHttp2Stream } from 'node:http2';
import type { Downstream, Failure } from '../request/ports.ts';
import type { H2Server } from './h2-server.ts';
import { BadMessage } from '../codec/bad-message.ts';
import { readTrailerList } from '../codec/chunked.ts';
import { appendFields, trailerObject } from '../codec/field-list.ts';
import { Exchange } from '../request/exchange.ts';
import { BODY_NONE } from '../request/ports.ts';
import { badRequestResponse } from '../request/respond.ts';

/** An answer that is whole but not taken for this long is given up. */
const STALLED_MS = 60_000;
/**
 * A request that is still coming when its answer is out is stopped after this (RFC 9113 §8.1). Not at once: to some
 * clients, gRPC's for Node among them, RST_STREAM right behind an answer undoes the answer.
 */
const LINGER_MS = 1_000;

/**
 * One request on an HTTP/2 connection; the exchange's downstream. Lives on for other streams of its
 * connection, so everything is set anew in `open`.
 */
export class H2ServerStream implements Downstream {
  readonly clientAddress: string;
  readonly #server: H2Server;
  readonly #exchange: Exchange;
  #stream: ServerHttp2Stream | undefined;
  /** Body bytes still to come by Content-Length; -1 when it was not said. */
  #expected = -1;
  #isInputEnded = false;
  #requestTrailers = '';
  #responseTrailers = '';
  /** The answer is whole, or there will be none. */
  #isOver = false;
  #overMs = 0;

  constructor(server: H2Server) {
    this.#server = server;
    this.clientAddress = server.clientAddress;
    this.#exchange = new Exchange(server.plane, this, server.arrival);
  }

  open(stream: ServerHttp2Stream, list: readonly string[], isEnded: boolean): void {
    stream.on('error', () => stream.destroy());
    if (stream.closed || stream.destroyed) {
      // Opened and reset in one breath.
      stream.destroy();
      this.#server.release(this);
      return;
    }
    this.#stream = stream;
    this.#expected = -1;
    this.#isInputEnded = isEnded;
    this.#requestTrailers = '';
    this.#responseTrailers = '';
    this.#isOver = false;
    stream.on('aborted', () => this.#aborted(stream));
    stream.once('close', () => this.#closed());
    stream.on('drain', () => this.#exchange.downstreamDrained());
    stream.on('wantTrailers', () => this.#sendTrailers(stream));
    const head = this.#exchange.requestHead;
    try {
      head.parseList(list, this.#server.rules);
    } catch (error) {
      this.#refuse(error);
      return;
    }
    this.#expected = head.contentLength;
    if (isEnded) stream.resume();
    else this.#read(stream);
    this.#exchange.begin(undefined, 0, 0, isEnded);
  }

  checkOver(nowMs: number): void {
    const stream = this.#stream;
    if (stream === undefined || !this.#isOver) return;
    const overMs = nowMs - this.#overMs;
    if (overMs > STALLED_MS) {
      stream.close(constants.NGHTTP2_CANCEL);
      stream.destroy();
    } else if (overMs > LINGER_MS && !this.#isInputEnded && stream.writableFinished) {
      stream.close(constants.NGHTTP2_NO_ERROR);
    }
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
    const stream = this.#stream!;
    if (isEnded) this.#markOver();
    if (stream.closed || stream.destroyed) return true;
    if (head > '6') {
      // HTTP/2 in Node knows no such status.
      stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      return true;
    }
    const list = [':status', head.slice(0, 3)];
    appendFields(head.slice(head.indexOf('\r\n') + 2), list);
    const stated = length >= 0 ? length : declared;
    // An empty answer says so by its end: gRPC wants no Content-Length in one.
    if (stated > 0 || declared === 0) list.push('content-length', String(stated));
    const hasBytes = bytes !== undefined && end > start;
    const endStream = length === BODY_NONE || (isEnded && !hasBytes);
    stream.respond(list, { endStream, waitForTrailers: !isEnded && !endStream });
    if (endStream || !hasBytes) return true;
    const piece = Buffer.from(bytes.subarray(start, end));
    if (!isEnded) return stream.write(piece);
    stream.end(piece);
    return true;
  }

  respondBody(bytes: Buffer, start: number, end: number): boolean {
    const stream = this.#stream!;
    if (start === end || !stream.writable) return true;
    return stream.write(Buffer.from(bytes.subarray(start, end)));
  }

  respondEnd(trailers: string): void {
    this.#responseTrailers = trailers;
    this.#markOver();
    this.#stream?.end();
  }

  /** Only 1xx other than 101, which HTTP/2 does not have. */
  inform(head: string): void {
    const stream = this.#stream!;
    if (stream.closed || stream.destroyed || stream.headersSent) return;
    stream.additionalHeaders({
      ...trailerObject(head.slice(head.indexOf('\r\n') + 2)),
      ':status': Number(head.slice(0, 3)),
    });
  }

  readBody(isWanted: boolean): void {
    if (isWanted) this.#stream?.resume();
    else this.#stream?.pause();
  }

  abort(_failure: Failure): void {
    this.#markOver();
    this.#stream?.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  openTunnel(): void {
    // No request over HTTP/2 can ask for one.
  }

  #read(stream: ServerHttp2Stream): void {
    stream.on('data', (chunk: Buffer) => {
      if (this.#expected >= 0 && (this.#expected -= chunk.length) < 0) {
        stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      } else this.#exchange.requestBody(chunk, 0, chunk.length);
    });
    stream.once('trailers', (_trailers, _flags, list) => {
      try {
        this.#requestTrailers = readTrailerList(list);
      } catch (error) {
        if (!(error instanceof BadMessage)) throw error;
        stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      }
    });
    stream.once('end', () => {
      // Node ends the readable side of a stream that was reset, too.
      if (stream.aborted || stream.destroyed || stream.rstCode !== 0) return;
      this.#isInputEnded = true;
      if (this.#expected > 0) stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      else this.#exchange.requestEnded(this.#requestTrailers);
    });
  }

  /** The answer is out; what is left of the request is read and forgotten. */
  #markOver(): void {
    this.#isOver = true;
    this.#overMs = this.#server.plane.coarseMs;
    this.#stream?.resume();
  }

  #sendTrailers(stream: ServerHttp2Stream): void {
    if (!stream.closed && !stream.destroyed) {
      stream.sendTrailers(trailerObject(this.#responseTrailers));
    }
  }

  /** Reset by the client, by Node, or by us: in any case nobody waits for the answer. */
  #aborted(stream: ServerHttp2Stream): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#exchange.downstreamGone();
    stream.destroy();
  }

  #closed(): void {
    if (!this.#isOver) this.#exchange.downstreamGone();
    this.#stream = undefined;
    this.#server.release(this);
  }

  #refuse(error: unknown): void {
    if (!(error instanceof BadMessage)) throw error;
    const { head, body } = badRequestResponse(error.status, error.message);
    this.respond(head, body.length, -1, body, 0, body.length, true);
    this.#exchange.refused(error.status, error.message);
  }
}
