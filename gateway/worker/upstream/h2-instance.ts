import { constants, type ClientHttp2Stream } from 'node:http2';
import type { Sending } from '../request/attempt.ts';
import type { Failure, ResponseSink, Upstream } from '../request/ports.ts';
import type { H2Session } from './h2-session.ts';
import { BadMessage } from '../codec/bad-message.ts';
import { readTrailerList } from '../codec/chunked.ts';
import { appendFields, trailerObject } from '../codec/field-list.ts';
import { RESPONSE_RULES } from '../codec/header-rules.ts';
import { FAILURES } from '../request/failures.ts';
import { BODY_NONE, BODY_UNKNOWN, MAX_INTERIM } from '../request/ports.ts';

const NO_BYTES = Buffer.alloc(0);

/**
 * One request to an instance over HTTP/2; the exchange's upstream. The origin is not trusted: its fields go
 * through the same codec as those of HTTP/1.1.
 */
export class H2InstanceStream implements Upstream {
  readonly #session: H2Session;
  readonly #stream: ClientHttp2Stream;
  #sink: ResponseSink | undefined;
  #interim = 0;
  #isAnswered = false;
  /** Body bytes still to come by Content-Length; -1 when it was not said. */
  #expected = -1;
  #requestTrailers = '';
  #trailers: string | undefined;

  constructor(session: H2Session, sink: ResponseSink, head: string, sending: Sending) {
    this.#session = session;
    this.#sink = sink;
    const { bytes, start, end } = sending;
    // HTTP/2 has no Upgrade: who asks for one gets what the service says to the request without it.
    const isEnded = sending.isEnded || sending.wantsTunnel;
    const hasBytes = bytes !== undefined && end > start;
    const list = requestList(head);
    const { contentLength } = sink.requestHead;
    if (contentLength >= 0) list.push('content-length', String(contentLength));
    const stream = session.request(list, {
      endStream: isEnded && !hasBytes,
      waitForTrailers: !isEnded,
    });
    this.#stream = stream;
    this.#listen(stream);
    if (hasBytes) stream.write(Buffer.from(bytes.subarray(start, end)));
    if (isEnded && hasBytes) stream.end();
  }

  sendBody(bytes: Buffer, start: number, end: number): boolean {
    if (start === end || !this.#stream.writable) return true;
    return this.#stream.write(Buffer.from(bytes.subarray(start, end)));
  }

  sendEnd(trailers: string): void {
    this.#requestTrailers = trailers;
    this.#stream.end();
  }

  readBody(isWanted: boolean): void {
    if (isWanted) this.#stream.resume();
    else this.#stream.pause();
  }

  cancel(): void {
    this.#sink = undefined;
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  #listen(stream: ClientHttp2Stream): void {
    // What it was is read from the stream when it closes.
    stream.on('error', () => stream.destroy());
    stream.on('headers', (_headers, _flags, list) => this.#guarded(() => this.#informed(list)));
    stream.on('response', (_headers, flags, list) => {
      const isEnded = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      this.#guarded(() => this.#answered(list, isEnded));
    });
    stream.on('trailers', (_headers, _flags, list) => {
      this.#guarded(() => void (this.#trailers = readTrailerList(list)));
    });
    stream.on('data', (chunk: Buffer) => this.#guarded(() => this.#body(chunk)));
    stream.on('drain', () => this.#sink?.upstreamDrained());
    stream.on('wantTrailers', () => {
      if (!stream.closed) stream.sendTrailers(trailerObject(this.#requestTrailers));
    });
    stream.once('end', () => this.#guarded(() => this.#end()));
    stream.once('close', () => this.#closed());
  }

  #informed(list: readonly string[]): void {
    const sink = this.#sink;
    if (sink === undefined || this.#isAnswered) return;
    sink.responseHead.parseList(list, RESPONSE_RULES);
    const { status } = sink.responseHead;
    if (status === 101 || status >= 200 || ++this.#interim > MAX_INTERIM) {
      throw new BadMessage(502, '101, or too many interim answers');
    }
    // Ours was sent already when the client waited for one.
    if (status !== 100) sink.informed();
  }

  #answered(list: readonly string[], isEnded: boolean): void {
    const sink = this.#sink;
    if (sink === undefined) return;
    const { responseHead: head, requestHead: request } = sink;
    head.parseList(list, RESPONSE_RULES);
    this.#isAnswered = true;
    this.#session.heard();
    if (request.method === 'HEAD' || head.status === 204 || head.status === 304) {
      this.#sink = undefined;
      sink.responseStarted(NO_BYTES, 0, 0, true, BODY_NONE);
      if (isEnded) this.#finish();
      else this.#stream.close(constants.NGHTTP2_CANCEL);
      return;
    }
    if (isEnded && head.contentLength > 0) {
      throw new BadMessage(502, 'a body shorter than its Content-Length');
    }
    this.#expected = head.contentLength;
    if (isEnded) this.#sink = undefined;
    const length = isEnded ? 0 : head.contentLength >= 0 ? head.contentLength : BODY_UNKNOWN;
    sink.responseStarted(NO_BYTES, 0, 0, isEnded, length);
    if (isEnded) this.#finish();
  }

  #body(chunk: Buffer): void {
    if (this.#sink === undefined) return;
    if (!this.#isAnswered) throw new BadMessage(502, 'a body before its head');
    if (this.#expected >= 0 && (this.#expected -= chunk.length) < 0) {
      throw new BadMessage(502, 'a body longer than its Content-Length');
    }
    this.#session.heard();
    this.#sink.responseBody(chunk, 0, chunk.length);
  }

  #end(): void {
    const { rstCode, destroyed } = this.#stream;
    // Node ends the readable side of a stream that was reset, too; behind trailers it is whole in any case.
    if (this.#trailers === undefined && (destroyed || rstCode !== constants.NGHTTP2_NO_ERROR)) {
      return;
    }
    const sink = this.#sink;
    if (sink === undefined || !this.#isAnswered) return;
    if (this.#expected > 0) throw new BadMessage(502, 'a body shorter than its Content-Length');
    this.#sink = undefined;
    sink.responseEnded(this.#trailers ?? '');
    this.#finish();
  }

  /** The answer is whole: a request that is still being sent is not wanted any more. */
  #finish(): void {
    if (!this.#stream.writableEnded) this.#stream.close(constants.NGHTTP2_NO_ERROR);
  }

  #closed(): void {
    this.#session.closed();
    if (this.#stream.pending || !this.#session.isConnected) this.#fail(FAILURES.connect);
    else if (this.#stream.rstCode === constants.NGHTTP2_REFUSED_STREAM) {
      this.#fail(this.#isAnswered ? FAILURES.closed : FAILURES.refused);
    } else this.#fail(FAILURES.closed);
  }

  #fail(failure: Failure): void {
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.upstreamFailed(failure);
  }

  /** What is no HTTP ends this request, and only this one: streams cannot be mistaken for each other. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      this.#fail(FAILURES.badResponse);
      this.#stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
    }
  }
}

/** The forwarded head as HTTP/2 says it: Host becomes `:authority`. */
function requestList(head: string): string[] {
  const lineEnd = head.indexOf('\r\n');
  const [method = '', target = ''] = head.slice(0, lineEnd).split(' ', 2);
  // forwardedHead writes Host first.
  const hostEnd = head.indexOf('\r\n', lineEnd + 2);
  const authority = head.slice(lineEnd + 2 + 'host: '.length, hostEnd);
  const list = [':method', method, ':scheme', 'http', ':path', target];
  if (authority !== '') list.push(':authority', authority);
  appendFields(head.slice(hostEnd + 2), list);
  return list;
}
