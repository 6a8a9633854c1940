import type { RequestHead } from '../codec/request-head.ts';
import type { Arrival } from './identify.ts';
import { TCP_UPGRADE } from '../codec/request-head.ts';

/**
 * The head of the request as it goes on: request line, Host, the lines that may pass, then the
 * gateway's own. Hop-by-hop and reserved fields left in the codec, so nothing the client listed in
 * `Connection` can take one of ours away again. Ends without the framing fields and the empty line.
 */
export function forwardedHead(
  head: RequestHead,
  arrival: Arrival,
  clientAddress: string,
  requestId: string,
  traceparent: string,
  service: string,
): string {
  // HTTP/1.0 and TCP may go without; what is forwarded is HTTP/1.1.
  const authority = head.authority || service;
  const ids = `x-request-id: ${requestId}\r\ntraceparent: ${traceparent}\r\n`;
  if (head.isTcp) {
    return `TCP / HTTP/1.1\r\nhost: ${authority}\r\nconnection: upgrade\r\nupgrade: ${TCP_UPGRADE}\r\n${ids}`;
  }
  const start = `${head.method} ${head.target} HTTP/1.1\r\nhost: ${authority}\r\n${head.lines}`;
  let hop = head.acceptsTrailers ? 'te: trailers\r\n' : '';
  if (head.wantsTunnel) {
    hop += 'connection: upgrade\r\nupgrade: websocket\r\n';
  }
  // The gateway that took the request from the client has said who that was.
  if (!arrival.isFirstHop) return start + hop + ids;
  const before = head.forwardedFor === '' ? '' : `${head.forwardedFor}, `;
  return (
    `${start}${hop}${ids}x-forwarded-for: ${before}${clientAddress}\r\n` +
    `x-forwarded-proto: ${head.forwardedProto || arrival.scheme}\r\n` +
    `x-forwarded-host: ${head.forwardedHost || authority}\r\n` +
    `x-gatemesh-hops: ${head.hops + 1}\r\n`
  );
}

/** The verified caller, as Envoy writes it; set by the gateway that hands the request to the service. */
export function callerLine(ownIdentity: string, sourceIdentity: string): string {
  return `x-forwarded-client-cert: By=${ownIdentity};URI=${sourceIdentity}\r\n`;
}
