import http2, { type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { HeaderRules } from '../codec/header-rules.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Arrival } from '../request/identify.ts';
import { clientAddressOf } from '../sockets.ts';
import { CONNECTION_WINDOW_BYTES, SERVER_OPTIONS } from './h2-options.ts';
import { H2ServerStream } from './h2-stream.ts';

const IDLE_TIMEOUT_MS = 60_000;
/** After GOAWAY without open streams; a client that does not close gets closed. */
const LINGER_MS = 5_000;
/** PING and SETTINGS a client may send between two sweeps: each makes us answer (CVE-2019-9512, CVE-2019-9515). */
const MAX_CONTROL_FRAMES = 100;
/** Streams kept for another life; more than this are left to the garbage collector. */
const MAX_SPARE = 64;

/** One client's HTTP/2 connection; each stream is a request of its own, handed to an exchange of its own. */
export class H2Server {
  readonly plane: DataPlane;
  readonly arrival: Arrival;
  readonly rules: HeaderRules;
  readonly clientAddress: string;
  readonly #session: ServerHttp2Session;
  readonly #streams = new Set<H2ServerStream>();
  readonly #spare: H2ServerStream[] = [];
  #controlFrames = 0;
  /** Since when no stream is open. */
  #since: number;

  /** @param socket nothing of it read yet, or what was read put back with `unshift` */
  constructor(
    socket: Socket,
    plane: DataPlane,
    arrival: Arrival,
    rules: HeaderRules,
    onGone: (connection: H2Server) => void,
  ) {
    this.plane = plane;
    this.arrival = arrival;
    this.rules = rules;
    this.clientAddress = clientAddressOf(socket);
    this.#since = plane.now();
    // Without a listener an error on any of the three ends the process (CVE-2025-59465).
    socket.on('error', () => socket.destroy());
    // No client of HTTP/2 half-closes: one that is gone wants none of its answers.
    socket.once('end', () => socket.destroy());
    const session = http2.performServerHandshake(socket, SERVER_OPTIONS);
    this.#session = session;
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.on('error', () => session.destroy());
    session.on('stream', (stream, _headers, flags, list) => this.#open(stream, flags, list));
    session.on('ping', () => this.#countControlFrame());
    session.on('remoteSettings', () => this.#countControlFrame());
    session.once('close', () => onGone(this));
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** Called now and then: ends connections without requests, and streams whose answer nobody reads. */
  checkIdle(nowMs: number): void {
    this.#controlFrames = 0;
    for (const stream of this.#streams) stream.checkOver(nowMs);
    if (this.#streams.size > 0) return;
    const idleMs = nowMs - this.#since;
    if (this.#session.closed ? idleMs > LINGER_MS : idleMs > IDLE_TIMEOUT_MS) {
      if (this.#session.closed) this.#session.destroy();
      else this.drain();
    }
  }

  /** GOAWAY: no further request; the connection ends when the open ones are through. */
  drain(): void {
    this.#since = this.plane.now();
    this.#session.close();
  }

  /** A stream is through, and can serve again. */
  release(stream: H2ServerStream): void {
    this.#streams.delete(stream);
    if (this.#streams.size === 0) this.#since = this.plane.now();
    if (this.#spare.length < MAX_SPARE) this.#spare.push(stream);
  }

  #open(stream: ServerHttp2Stream, flags: number, list: readonly string[]): void {
    const own = this.#spare.pop() ?? new H2ServerStream(this);
    this.#streams.add(own);
    own.open(stream, list, (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0);
  }

  #countControlFrame(): void {
    if (++this.#controlFrames > MAX_CONTROL_FRAMES) {
      const flood = new Error('too many PING or SETTINGS frames');
      this.#session.destroy(flood, http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
    }
  }
}
