import http2, {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
} from 'node:http2';
import { formatAddress, type Address } from '#kit/address.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Sending } from '../request/attempt.ts';
import type { ResponseSink, Upstream } from '../request/ports.ts';
import { MAX_FIELDS, MAX_HEAD_BYTES } from '../codec/limits.ts';
import { dial } from '../sockets.ts';
import { H2InstanceStream } from './h2-instance.ts';

const WINDOW_BYTES = 131_072;
const CONNECTION_WINDOW_BYTES = 1_048_576;
const CLIENT_OPTIONS = {
  settings: {
    enablePush: false,
    initialWindowSize: WINDOW_BYTES,
    maxHeaderListSize: MAX_HEAD_BYTES,
  },
  // `:status` comes on top.
  maxHeaderListPairs: MAX_FIELDS + 1,
  // Until the instance has said how many streams it takes, one is sent; others wait for its SETTINGS in the library.
  peerMaxConcurrentStreams: 1,
  // Duplicates were judged by the codec; Node would throw where a field came twice.
  strictSingleValueFields: false,
};
/**
 * An instance that is silent this long while streams are open is asked for a sign of life. Above the five minutes
 * that gRPC servers want between two pings: one that is asked more often closes the connection.
 */
const PING_AFTER_MS = 310_000;
const PONG_WITHIN_MS = 10_000;

/** One HTTP/2 connection to an instance, with prior knowledge (RFC 9113 §3.3); requests share it. */
export class H2Session {
  readonly #plane: DataPlane;
  readonly #session: ClientHttp2Session;
  #open = 0;
  #mostStreams: number;
  #isConnected = false;
  #heardMs: number;
  #pingSentMs = 0;

  /**
   * @param assumedStreams how many the instance is thought to take before it says so
   * @param onGone takes no further stream; called once
   */
  constructor(
    plane: DataPlane,
    address: Address,
    connectTimeoutMs: number,
    assumedStreams: number,
    onGone: (session: H2Session) => void,
  ) {
    this.#plane = plane;
    this.#heardMs = plane.coarseMs;
    this.#mostStreams = assumedStreams;
    const socket = dial(address);
    const session = http2.connect(`http://${formatAddress(address)}`, {
      ...CLIENT_OPTIONS,
      createConnection: () => socket,
    });
    this.#session = session;
    const timer = setTimeout(() => this.destroy(), connectTimeoutMs);
    session.once('connect', () => {
      clearTimeout(timer);
      if (session.destroyed) return;
      this.#isConnected = true;
      session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    });
    session.on('remoteSettings', ({ maxConcurrentStreams }) => {
      this.#mostStreams = maxConcurrentStreams ?? Infinity;
    });
    // Its streams tell what became of them; without a listener it would end the process.
    session.on('error', () => session.destroy());
    session.once('close', () => {
      clearTimeout(timer);
      socket.destroy();
      onGone(this);
    });
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  get mostStreams(): number {
    return this.#mostStreams;
  }

  get hasRoom(): boolean {
    return !this.#session.closed && !this.#session.destroyed && this.#open < this.#mostStreams;
  }

  open(sink: ResponseSink, head: string, sending: Sending): Upstream {
    this.#open++;
    this.heard();
    return new H2InstanceStream(this, sink, head, sending);
  }

  request(list: readonly string[], options: ClientSessionRequestOptions): ClientHttp2Stream {
    return this.#session.request(list, options);
  }

  /** A stream is closed. */
  closed(): void {
    this.#open--;
    this.heard();
  }

  heard(): void {
    this.#heardMs = this.#plane.coarseMs;
    this.#pingSentMs = 0;
  }

  idleMs(nowMs: number): number {
    return this.#open === 0 ? nowMs - this.#heardMs : 0;
  }

  /** @returns 'dead' when an instance with open streams does not answer */
  checkAlive(nowMs: number): 'alive' | 'dead' {
    if (this.#pingSentMs > 0) return nowMs - this.#pingSentMs > PONG_WITHIN_MS ? 'dead' : 'alive';
    const isOpen = this.#open > 0 && this.#isConnected && !this.#session.destroyed;
    if (isOpen && nowMs - this.#heardMs > PING_AFTER_MS) {
      this.#pingSentMs = nowMs;
      this.#session.ping((error) => {
        if (error === null) this.heard();
      });
    }
    return 'alive';
  }

  /** GOAWAY: takes no further streams, closes when the open ones are through. */
  leave(): void {
    this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
  }
}
