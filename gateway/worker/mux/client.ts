import type { TLSSocket } from 'node:tls';
import type { Failure, ResponseSink, Upstream } from '../request/ports.ts';
import type { Sending } from '../request/attempt.ts';
import { BadMessage } from '../codec/bad-message.ts';
import { MESH_RESPONSE_RULES } from '../codec/header-rules.ts';
import { FAILURE_OF_REASON, FAILURES, REASONS } from '../request/failures.ts';
import { BODY_NONE, BODY_UNKNOWN, MAX_INTERIM } from '../request/ports.ts';
import { MuxConnection } from './connection.ts';
import { MAX_DATA_BYTES, MuxError, RESET, TYPE, VERSION } from './frames.ts';
import { MuxStream } from './stream.ts';

/** Highest stream number; a connection that gets there is replaced. */
const LAST_STREAM = 0x7fff_ffff;

type State = 'connecting' | 'open' | 'leaving' | 'closed';

/**
 * The caller's end: one connection to one service on one gateway. In TLS 1.3 a client is "connected"
 * before the server has looked at its certificate, so nothing is sent before the callee's SETTINGS:
 * what fails earlier is known to be unsent.
 */
export class MuxClient extends MuxConnection {
  readonly #onGone: (connection: MuxClient) => void;
  readonly #waiting = new Set<MuxClientStream>();
  #state: State = 'connecting';
  #lastId = 0;
  #mostStreams = 0;

  constructor(socket: TLSSocket, onGone: (connection: MuxClient) => void) {
    super(socket);
    this.#onGone = onGone;
  }

  get isConnecting(): boolean {
    return this.#state === 'connecting';
  }

  /** May take one more stream, now or as soon as it is connected. */
  get hasRoom(): boolean {
    if (this.#state === 'connecting') return this.#waiting.size < 256;
    return (
      this.#state === 'open' && this.streams.size < this.#mostStreams && this.#lastId < LAST_STREAM
    );
  }

  /** @param instanceLine which of the callee's instances the balancer has chosen, as a field line */
  open(sink: ResponseSink, instanceLine: string, sending: Sending): Upstream {
    const stream = new MuxClientStream(this, sink);
    const { contentLength } = sink.requestHead;
    const length = contentLength >= 0 ? `content-length: ${contentLength}\r\n` : '';
    const head = `${sending.forwarded}${length}${instanceLine}`;
    if (this.#state === 'connecting') {
      stream.wait(head, sending);
      this.#waiting.add(stream);
    } else {
      const id = this.#number(stream);
      stream.start(id, head, sending.bytes, sending.start, sending.end, sending.isEnded);
    }
    return stream;
  }

  /** Replaced: takes no further streams, closes when the open ones are through. */
  leave(): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'connecting') {
      this.destroy();
      return;
    }
    if (this.#state === 'open') this.sendNumber(TYPE.goaway, 0, 0, 0);
    this.#state = 'leaving';
    this.closeWhenDone();
  }

  closeWhenDone(): void {
    if (this.#state !== 'leaving' || this.streams.size > 0) return;
    this.flush();
    this.finish();
  }

  /** A stream that never started is not wanted any more. */
  unwait(stream: MuxClientStream): void {
    this.#waiting.delete(stream);
  }

  override onEnd(): void {
    this.destroy();
  }

  override onClosed(): void {
    this.#state = 'closed';
    this.#onGone(this);
    for (const stream of this.#waiting) stream.fail(FAILURES.connect);
    this.#waiting.clear();
    for (const stream of [...this.streams.values()]) stream.connectionLost();
    this.streams.clear();
  }

  protected override onSettings(bytes: Buffer, start: number): void {
    if (this.#state !== 'connecting') throw new MuxError('SETTINGS twice');
    if (bytes.readUInt32BE(start) !== VERSION)
      throw new MuxError('a protocol version we do not speak');
    this.#mostStreams = bytes.readUInt32BE(start + 4);
    if (this.#mostStreams === 0) throw new MuxError('a peer that allows no stream');
    this.#state = 'open';
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const stream of waiting) {
      if (this.hasRoom) {
        stream.startLate(this.#number(stream));
      } else stream.fail(FAILURES.peerRefused);
    }
  }

  protected override onHead(
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
    body: number,
    isEnd: boolean,
  ): void {
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (!this.wasOpen(id))
        throw new MuxError(`an answer on stream ${id}, which was never opened`);
      return;
    }
    (stream as MuxClientStream).headArrived(bytes, start, end, body, isEnd);
  }

  /** What the callee will not serve can go elsewhere at once. */
  protected override onGoaway(lastId: number): void {
    if (this.#state !== 'open') return;
    this.#state = 'leaving';
    this.#onGone(this);
    for (const [id, stream] of [...this.streams]) {
      if (id > lastId) (stream as MuxClientStream).fail(FAILURES.peerRefused);
    }
    this.closeWhenDone();
  }

  protected override wasOpen(id: number): boolean {
    return id <= this.#lastId;
  }

  #number(stream: MuxClientStream): number {
    const id = ++this.#lastId;
    this.streams.set(id, stream);
    return id;
  }
}

/** What a stream is to send once its connection is there. */
interface Waiting {
  readonly head: string;
  /** Body bytes; copied, since the read buffer has other contents by then. */
  readonly early: Buffer[];
  isEnded: boolean;
  /** With `isEnded`. */
  trailers: string;
  /** The sender was told to pause until the start. */
  isHeldBack: boolean;
}

/** One request on its way to another gateway; the exchange's upstream. */
export class MuxClientStream extends MuxStream implements Upstream {
  readonly #client: MuxClient;
  #sink: ResponseSink | undefined;
  #waiting: Waiting | undefined;
  #expected = -1;
  #interim = 0;
  #isTunnel = false;
  /** A TCP connection: a half that has ended leaves the other one as it is. */
  #isTcp = false;
  #isRequestEnded = false;
  #isAnswered = false;

  constructor(client: MuxClient, sink: ResponseSink) {
    super(client);
    this.#client = client;
    this.#sink = sink;
  }

  /** Keeps the request until `startLate`. */
  wait(head: string, { bytes, start, end, isEnded }: Sending): void {
    const early =
      bytes === undefined || start === end ? [] : [Buffer.from(bytes.subarray(start, end))];
    this.#waiting = { head, early, isEnded, trailers: '', isHeldBack: false };
  }

  /** Sends a request's head with the first bytes of its body. @param isEnded these bytes are all of it */
  start(
    id: number,
    head: string,
    bytes: Buffer | undefined,
    start: number,
    end: number,
    isEnded: boolean,
  ): void {
    this.reopen(id);
    const fits = end - start <= MAX_DATA_BYTES;
    const isLast = isEnded && fits;
    this.connection.sendHead(id, head, fits ? bytes : undefined, start, end, isLast);
    if (fits) this.spend(end - start);
    else this.send(bytes!, start, end);
    this.hasSentEnd = isLast;
    if (isEnded && !isLast) this.sendEndOfStream('');
  }

  /** It had to wait for its connection until now. */
  startLate(id: number): void {
    const { head, early, isEnded, trailers, isHeldBack } = this.#waiting!;
    this.#waiting = undefined;
    this.#sink?.requestSent();
    const [first, ...more] = early;
    const isWhole = isEnded && more.length === 0 && trailers === '';
    this.start(id, head, first, 0, first?.length ?? 0, isWhole);
    for (const piece of more) this.send(piece, 0, piece.length);
    if (isEnded && !isWhole) this.sendEndOfStream(trailers);
    else if (isHeldBack) this.#sink?.upstreamDrained();
  }

  sendBody(bytes: Buffer, start: number, end: number): boolean {
    if (this.#waiting === undefined) return this.send(bytes, start, end);
    this.#waiting.early.push(Buffer.from(bytes.subarray(start, end)));
    this.#waiting.isHeldBack = true;
    return false;
  }

  sendEnd(trailers: string): void {
    this.#isRequestEnded = true;
    if (this.#isTcp) {
      this.sendEndOfStream(trailers);
      this.#endTcp();
      return;
    }
    if (this.#waiting === undefined) this.sendEndOfStream(trailers);
    else {
      this.#waiting.isEnded = true;
      this.#waiting.trailers = trailers;
    }
  }

  readBody(isWanted: boolean): void {
    this.setReading(isWanted);
  }

  cancel(): void {
    this.#sink = undefined;
    if (this.#waiting !== undefined) this.#client.unwait(this);
    else this.#leave(RESET.cancelled);
  }

  fail(failure: Failure): void {
    const sink = this.#sink;
    this.#sink = undefined;
    this.connection.forget(this.id);
    sink?.upstreamFailed(failure);
  }

  headArrived(bytes: Buffer, start: number, end: number, body: number, isEnd: boolean): void {
    const sink = this.#sink;
    if (sink === undefined) return;
    const { responseHead: head, requestHead: request } = sink;
    if (this.#isAnswered) throw new MuxError('a second answer on one stream');
    try {
      head.parse(bytes, start, body, MESH_RESPONSE_RULES);
      if (head.isChunked) throw new BadMessage(502, 'chunked coding between gateways');
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      this.#leave(RESET.protocol);
      this.fail(FAILURES.badResponse);
      return;
    }
    this.arrived(end - body);
    if (head.status < 200) {
      if (head.status !== 101) {
        if (++this.#interim > MAX_INTERIM) throw new MuxError('too many interim answers');
        sink.informed();
      } else if (request.upgrade !== '' && request.upgrade === head.upgrade) {
        this.#isTunnel = true;
        this.#isTcp = request.isTcp;
        this.#isAnswered = true;
        sink.tunnelOpened(bytes, body, end);
      } else throw new MuxError('101 for a protocol that was not asked for');
      return;
    }
    if (!REASONS.has(head.reason)) head.reason = '';
    const failure = FAILURE_OF_REASON.get(head.reason);
    if (failure !== undefined) {
      this.#leave(RESET.done);
      this.fail(failure);
      return;
    }
    this.#isAnswered = true;
    this.hasReceivedEnd = isEnd;
    const bodiless = request.method === 'HEAD' || head.status === 204 || head.status === 304;
    const length = bodiless
      ? BODY_NONE
      : head.contentLength >= 0
        ? head.contentLength
        : isEnd
          ? 0
          : BODY_UNKNOWN;
    const left = Math.max(0, length) - (end - body);
    if (length !== BODY_UNKNOWN && (left < 0 || (isEnd && left > 0))) {
      throw new MuxError('a body that is not as long as its Content-Length');
    }
    this.#expected = length === BODY_UNKNOWN ? -1 : left;
    if (isEnd) this.#through();
    sink.responseStarted(bytes, body, end, isEnd, length);
  }

  override resetArrived(reason: number): void {
    const isOver = (this.hasReceivedEnd && !this.#isTcp) || this.#sink === undefined;
    this.hasSentEnd = true;
    this.hasReceivedEnd = true;
    this.#gone();
    if (isOver) return;
    if (reason === RESET.refused) this.fail(FAILURES.peerRefused);
    else if (reason === RESET.connect) this.fail(FAILURES.connect);
    else if (reason === RESET.timeout) this.fail(FAILURES.timeout);
    else this.fail(FAILURES.closed);
  }

  override connectionLost(): void {
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.upstreamFailed(FAILURES.closed);
  }

  protected override onData(bytes: Buffer, start: number, end: number): void {
    if (!this.#isAnswered) throw new MuxError('a body before the head of its answer');
    if (this.#expected >= 0 && !this.#isTunnel) {
      this.#expected -= end - start;
      if (this.#expected < 0) throw new MuxError('a body longer than its Content-Length');
    }
    this.#sink?.responseBody(bytes, start, end);
  }

  protected override onEnd(trailers: string): void {
    if (!this.#isAnswered) throw new MuxError('the end of an answer before its head');
    if (this.#expected > 0 && !this.#isTunnel)
      throw new MuxError('a body shorter than its Content-Length');
    const sink = this.#sink;
    if (this.#isTcp) this.#endTcp();
    else this.#through();
    sink?.responseEnded(trailers);
  }

  protected override onSendable(): void {
    if (this.#isTcp) this.#endTcp();
    this.#sink?.upstreamDrained();
  }

  /** Once both halves have ended nothing is reported any more; the stream goes when what was queued has left. */
  #endTcp(): void {
    if (!this.hasReceivedEnd || !this.#isRequestEnded) return;
    this.#sink = undefined;
    if (this.hasSentEnd) this.#gone();
  }

  /** The answer is whole. */
  #through(): void {
    this.#sink = undefined;
    if (this.hasSentEnd) this.#gone();
    else this.#leave(RESET.done);
  }

  #leave(reason: number): void {
    if (!this.hasSentEnd || !this.hasReceivedEnd) this.connection.sendReset(this.id, reason);
    this.hasSentEnd = true;
    this.hasReceivedEnd = true;
    this.#gone();
  }

  #gone(): void {
    this.connection.forget(this.id);
    this.#client.closeWhenDone();
  }
}
