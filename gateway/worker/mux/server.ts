import type { TLSSocket } from 'node:tls';
import type { DataPlane } from '../data-plane.ts';
import type { Arrival } from '../request/identify.ts';
import type { Downstream, Failure } from '../request/ports.ts';
import { BadMessage } from '../codec/bad-message.ts';
import { MESH_RULES } from '../codec/header-rules.ts';
import { Exchange } from '../request/exchange.ts';
import { BODY_NONE } from '../request/ports.ts';
import { badRequestResponse } from '../request/respond.ts';
import { MuxConnection } from './connection.ts';
import {
  MAX_DATA_BYTES,
  MAX_STREAMS,
  MuxError,
  RESET,
  TYPE,
  VERSION,
  WINDOW_BYTES,
} from './frames.ts';
import { MuxStream } from './stream.ts';

/**
 * Streams kept for another life while the connection is busy: as many as a few hundred callers need, since making
 * one anew with all it holds is dearer than serving it. Once it is quiet they are let go.
 */
const MAX_SPARE = 256;

/** The callee's end: another gateway's connection to one service here. */
export class MuxServer extends MuxConnection {
  readonly plane: DataPlane;
  readonly arrival: Arrival;
  readonly #onGone: (connection: MuxServer) => void;
  readonly #spare: MuxServerStream[] = [];
  #lastId = 0;
  #isLeaving = false;

  constructor(
    socket: TLSSocket,
    plane: DataPlane,
    arrival: Arrival,
    onGone: (connection: MuxServer) => void,
  ) {
    super(socket);
    this.plane = plane;
    this.arrival = arrival;
    this.#onGone = onGone;
    this.sendNumbers(TYPE.settings, [VERSION, MAX_STREAMS, WINDOW_BYTES]);
  }

  /** No further streams; closes when the open ones are through. */
  leave(): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    this.sendNumber(TYPE.goaway, 0, 0, this.#lastId);
    this.#closeWhenDone();
  }

  override checkAlive(nowMs: number): 'alive' | 'dead' {
    if (this.streams.size === 0) this.#spare.length = 0;
    return super.checkAlive(nowMs);
  }

  /** A stream is through, and can serve again. */
  release(stream: MuxServerStream): void {
    this.forget(stream.id);
    if (this.#spare.length < MAX_SPARE) this.#spare.push(stream);
    if (this.#isLeaving) this.#closeWhenDone();
  }

  override onEnd(): void {
    this.destroy();
  }

  override onClosed(): void {
    for (const stream of this.streams.values()) stream.connectionLost();
    this.streams.clear();
    this.#onGone(this);
  }

  protected override onHead(
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
    body: number,
    isEnd: boolean,
  ): void {
    if (id <= this.#lastId) throw new MuxError(`stream ${id} was opened before`);
    if (this.#isLeaving) {
      // The caller sent it before it saw GOAWAY; it takes the hint from there.
      this.sendReset(id, RESET.refused);
      return;
    }
    this.#lastId = id;
    if (this.streams.size >= MAX_STREAMS) {
      this.sendReset(id, RESET.refused);
      return;
    }
    const stream = this.#spare.pop() ?? new MuxServerStream(this);
    this.streams.set(id, stream);
    stream.open(id, bytes, start, end, body, isEnd);
  }

  protected override onSettings(): void {
    throw new MuxError('SETTINGS from the caller');
  }

  protected override onGoaway(): void {
    this.#isLeaving = true;
    this.#closeWhenDone();
  }

  protected override wasOpen(id: number): boolean {
    return id <= this.#lastId || this.#isLeaving;
  }

  #closeWhenDone(): void {
    if (this.streams.size > 0) return;
    this.flush();
    this.finish();
  }
}

/** One request from another gateway; the exchange's downstream. */
export class MuxServerStream extends MuxStream implements Downstream {
  readonly clientAddress: string;
  readonly #server: MuxServer;
  readonly #exchange: Exchange;
  /** Body bytes still to come by Content-Length; -1 when it was not said. */
  #expected = -1;
  #isTunnel = false;
  #isOpen = false;

  constructor(server: MuxServer) {
    super(server);
    this.#server = server;
    this.clientAddress = server.socket.remoteAddress ?? 'unknown';
    this.#exchange = new Exchange(server.plane, this, server.arrival);
  }

  open(id: number, bytes: Buffer, start: number, end: number, body: number, isEnd: boolean): void {
    this.reopen(id);
    this.#isOpen = true;
    this.#isTunnel = false;
    const head = this.#exchange.requestHead;
    try {
      head.parse(bytes, start, body, MESH_RULES);
      if (head.isChunked) throw new BadMessage(400, 'chunked coding between gateways');
      if (head.isTcp && isEnd) throw new BadMessage(400, 'a TCP connection that has ended');
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      this.#refuse(error);
      return;
    }
    this.arrived(end - body);
    this.hasReceivedEnd = isEnd;
    // Before the upgrade is agreed to there is no body: the service would read one as its next request.
    const declared = head.contentLength < 0 && head.upgrade !== '' ? 0 : head.contentLength;
    const left = declared - (end - body);
    if (declared >= 0 && (left < 0 || (isEnd && left > 0))) {
      this.#refuse(new BadMessage(400, 'the body is not as long as Content-Length says'));
      return;
    }
    this.#expected = declared < 0 ? -1 : left;
    this.#exchange.begin(bytes, body, end, isEnd);
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
    let text = `HTTP/1.1 ${head}`;
    if (length >= 0) text += `content-length: ${length}\r\n`;
    else if (declared >= 0) text += `content-length: ${declared}\r\n`;
    const fits = length === BODY_NONE || end - start <= MAX_DATA_BYTES;
    const isLast = isEnded && fits;
    this.connection.sendHead(this.id, text, fits ? bytes : undefined, start, end, isLast);
    if (fits) {
      if (bytes !== undefined) this.spend(end - start);
      if (isLast) {
        this.hasSentEnd = true;
        this.#close();
      }
      return true;
    }
    const flows = this.send(bytes!, start, end);
    if (isEnded) this.respondEnd('');
    return flows;
  }

  respondBody(bytes: Buffer, start: number, end: number): boolean {
    return this.send(bytes, start, end);
  }

  respondEnd(trailers: string): void {
    this.sendEndOfStream(trailers);
    this.#close();
  }

  inform(head: string): void {
    this.connection.sendHead(this.id, `HTTP/1.1 ${head}`, undefined, 0, 0, false);
  }

  readBody(isWanted: boolean): void {
    this.setReading(isWanted);
  }

  abort(failure: Failure): void {
    this.connection.sendReset(this.id, failure.isUnsent ? RESET.connect : RESET.closed);
    this.hasSentEnd = true;
    this.hasReceivedEnd = true;
    this.#close();
  }

  openTunnel(): void {
    this.#isTunnel = true;
  }

  override resetArrived(): void {
    this.hasSentEnd = true;
    this.hasReceivedEnd = true;
    this.#exchange.downstreamGone();
    this.#close();
  }

  override connectionLost(): void {
    this.#isOpen = false;
    this.#exchange.downstreamGone();
  }

  protected override onData(bytes: Buffer, start: number, end: number): void {
    if (this.#expected >= 0 && !this.#isTunnel) {
      this.#expected -= end - start;
      if (this.#expected < 0) throw new MuxError('a body longer than its Content-Length');
    }
    this.#exchange.requestBody(bytes, start, end);
  }

  protected override onEnd(trailers: string): void {
    if (this.#expected > 0 && !this.#isTunnel)
      throw new MuxError('a body shorter than its Content-Length');
    // The exchange would take it for the end of the request that opens it, and wait for another one.
    if (this.#exchange.requestHead.isTcp && !this.#isTunnel)
      throw new MuxError('the end of a TCP connection that is not open yet');
    this.#exchange.requestEnded(trailers);
    if (this.#isTunnel && !this.#exchange.isActive) this.#close();
  }

  protected override onSendable(): void {
    if (this.hasSentEnd || !this.#exchange.isActive) this.#close();
    else this.#exchange.downstreamDrained();
  }

  /** Gives the stream back once all was sent; a request that is still coming is not wanted any more. */
  #close(): void {
    if (!this.#isOpen || !this.hasSentEnd) return;
    // A TCP client may go on sending after the service's last byte.
    if (this.#isTunnel && this.#exchange.requestHead.isTcp && !this.hasReceivedEnd) return;
    this.#isOpen = false;
    if (!this.hasReceivedEnd) this.connection.sendReset(this.id, RESET.done);
    this.#server.release(this);
  }

  #refuse(error: BadMessage): void {
    const { head, body } = badRequestResponse(error.status, error.message);
    this.respond(head, body.length, -1, body, 0, body.length, true);
  }
}
