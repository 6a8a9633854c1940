import type { RequestHead } from '../codec/request-head.ts';
import type { ResponseHead } from '../codec/response-head.ts';

/** What a message's body is: its length in bytes, or one of these. */
export const BODY_UNKNOWN = -1;
export const BODY_NONE = -2;

/** Interim answers before the real one; an upstream that sends more is broken or hostile. */
export const MAX_INTERIM = 16;

/**
 * Where a request came from and its response goes: an HTTP/1.1 client connection or a stream of
 * another gateway. Called by the exchange.
 */
export interface Downstream {
  /** The client's address, for forwarding fields and the log. */
  readonly clientAddress: string;
  /**
   * Sends the response's head and the first of its body in one go.
   *
   * @param head status and field lines, each with its CRLF, without framing fields
   * @param length of the body: bytes, BODY_UNKNOWN, or BODY_NONE
   * @param declared Content-Length to state although no body follows (HEAD, 304); -1: none
   * @returns false when the source should pause until `Exchange.downstreamDrained`
   */
  respond(
    head: string,
    length: number,
    declared: number,
    bytes: Buffer | undefined,
    start: number,
    end: number,
    isEnded: boolean,
  ): boolean;
  respondBody(bytes: Buffer, start: number, end: number): boolean;
  respondEnd(trailers: string): void;
  /** 1xx: head text as for `respond`. */
  inform(head: string): void;
  /** Stops or goes on reading the request's body. */
  readBody(isWanted: boolean): void;
  /** Ends it without a proper response: the other side must notice that something is missing. */
  abort(failure: Failure): void;
  /** 101 was sent: bytes flow both ways from here on. */
  openTunnel(): void;
}

/** Where a request goes: an instance's HTTP/1.1 connection or a stream to another gateway. */
export interface Upstream {
  /** @returns false when the source should pause until `Exchange.upstreamDrained` */
  sendBody(bytes: Buffer, start: number, end: number): boolean;
  sendEnd(trailers: string): void;
  readBody(isWanted: boolean): void;
  /** The response is not wanted any more. */
  cancel(): void;
}

/** What the exchange gets from an upstream. */
export interface ResponseSink {
  readonly responseHead: ResponseHead;
  readonly requestHead: RequestHead;
  /** The request leaves only now: it had to wait for its connection, which is not the service's latency. */
  requestSent(): void;
  /** After `responseHead` was filled; the body's first bytes come along. */
  responseStarted(
    bytes: Buffer,
    start: number,
    end: number,
    isEnded: boolean,
    length: number,
  ): void;
  informed(): void;
  responseBody(bytes: Buffer, start: number, end: number): void;
  responseEnded(trailers: string): void;
  upstreamDrained(): void;
  upstreamFailed(failure: Failure): void;
  /** 101: what follows is not HTTP. */
  tunnelOpened(bytes: Buffer, start: number, end: number): void;
}

/** How an attempt died, or an answer was made by a gateway: status, Envoy's letters, and a plain word. */
export interface Failure {
  readonly error: string;
  readonly reason: string;
  readonly status: number;
  /** No byte of the request reached a service: any method may be tried elsewhere. */
  readonly isUnsent: boolean;
  /** Says something about the endpoint: it is to be left alone for a while. */
  readonly isEndpointFault: boolean;
  readonly message: string;
}
