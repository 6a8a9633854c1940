import { formatIdentity } from '../../../ca/identity.ts';
import type { RequestHead } from '../codec/request-head.ts';
import type { Arrival } from './identify.ts';
import { TCP_UPGRADE } from '../codec/request-head.ts';

/**
 * Heads of the requests of one connection as they go on: request line, Host, the lines that may pass, then the
 * gateway's own. Hop-by-hop and reserved fields left in the codec, so nothing the client listed in
 * `Connection` can take one of ours away again.
 */
export class Forwarding {
  readonly #arrival: Arrival;
  readonly #clientAddress: string;
  /** Most requests of a connection are for one host: what is said of it and the client is put together once. */
  #authority = '';
  #version = '';
  #about = '';
  #service = '';
  #caller = '';

  constructor(arrival: Arrival, clientAddress: string) {
    this.#arrival = arrival;
    this.#clientAddress = clientAddress;
  }

  /** Ends without the framing fields and the empty line. @param service the Host of whoever came without one */
  head(head: RequestHead, requestId: string, traceparent: string, service: string): string {
    // HTTP/1.0 and TCP may go without; what is forwarded is HTTP/1.1.
    const authority = head.authority || service;
    const ids = `x-request-id: ${requestId}\r\ntraceparent: ${traceparent}\r\n`;
    if (head.isTcp) {
      return `TCP / HTTP/1.1\r\nhost: ${authority}\r\nconnection: upgrade\r\nupgrade: ${TCP_UPGRADE}\r\n${ids}`;
    }
    let hop = head.acceptsTrailers ? 'te: trailers\r\n' : '';
    if (head.wantsTunnel) hop += 'connection: upgrade\r\nupgrade: websocket\r\n';
    if (authority !== this.#authority) {
      this.#authority = authority;
      this.#version = ` HTTP/1.1\r\nhost: ${authority}\r\n`;
      this.#about = '';
    }
    // The gateway that took the request from the client has said who that was.
    const about = this.#arrival.isFirstHop ? this.#aboutClient(head, authority) : '';
    return `${head.method} ${head.target}${this.#version}${head.lines}${hop}${ids}${about}`;
  }

  /** The verified caller, as Envoy writes it; said by the gateway that hands the request to the service. */
  callerLine(trustDomain: string, service: string): string {
    if (service !== this.#service) {
      const own = formatIdentity({ trustDomain, kind: 'svc', name: service });
      this.#service = service;
      this.#caller = `x-forwarded-client-cert: By=${own};URI=${this.#arrival.sourceIdentity}\r\n`;
    }
    return this.#caller;
  }

  #aboutClient(head: RequestHead, authority: string): string {
    const isUsual =
      head.forwardedFor === '' &&
      head.forwardedProto === '' &&
      head.forwardedHost === '' &&
      head.hops === 0;
    if (!isUsual) return forwardingLines(head, authority, this.#clientAddress, this.#arrival);
    this.#about ||= forwardingLines(head, authority, this.#clientAddress, this.#arrival);
    return this.#about;
  }
}

function forwardingLines(
  head: RequestHead,
  authority: string,
  clientAddress: string,
  { scheme }: Arrival,
): string {
  const before = head.forwardedFor === '' ? '' : `${head.forwardedFor}, `;
  return (
    `x-forwarded-for: ${before}${clientAddress}\r\n` +
    `x-forwarded-proto: ${head.forwardedProto || scheme}\r\n` +
    `x-forwarded-host: ${head.forwardedHost || authority}\r\n` +
    `x-gatemesh-hops: ${head.hops + 1}\r\n`
  );
}
