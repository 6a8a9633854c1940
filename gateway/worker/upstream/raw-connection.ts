import type { Address } from '#kit/address.ts';
import type { ResponseSink, Upstream } from '../request/ports.ts';
import { RESPONSE_RULES } from '../codec/header-rules.ts';
import { TCP_UPGRADE } from '../codec/request-head.ts';
import { FAILURES } from '../request/failures.ts';
import { dial, readFrom } from '../sockets.ts';
import { Wire } from '../wire.ts';

/** The answer that a TCP instance gives by taking the connection. */
const OPENED = Buffer.from(`HTTP/1.1 101 Switching Protocols\r\nupgrade: ${TCP_UPGRADE}\r\n`);

/** A TCP connection to an instance on this node, for one client: bytes as they are, each half ending for itself. */
export class RawConnection extends Wire implements Upstream {
  #sink: ResponseSink | undefined;
  #isOpen = false;
  #hasEnded = false;
  #isRequestEnded = false;

  constructor(address: Address, connectTimeoutMs: number, sink: ResponseSink) {
    const socket = dial(address, true);
    super(socket);
    this.#sink = sink;
    readFrom(socket, this);
    const timer = setTimeout(() => this.destroy(), connectTimeoutMs);
    socket.once('connect', () => {
      clearTimeout(timer);
      this.#opened();
    });
    socket.once('close', () => clearTimeout(timer));
  }

  sendBody(bytes: Buffer, start: number, end: number): boolean {
    return this.writeBytes(bytes, start, end);
  }

  sendEnd(): void {
    this.#isRequestEnded = true;
    this.finish();
    if (this.#hasEnded) this.#over();
  }

  readBody(isWanted: boolean): void {
    if (isWanted) this.resume();
    else this.pause();
  }

  cancel(): void {
    this.#sink = undefined;
    this.reset();
  }

  override onBytes(bytes: Buffer, start: number, end: number): void {
    this.#sink?.responseBody(bytes, start, end);
  }

  override onEnd(): void {
    const sink = this.#sink;
    this.#hasEnded = true;
    if (this.#isRequestEnded) this.#over();
    sink?.responseEnded('');
  }

  override onClosed(): void {
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.upstreamFailed(this.#isOpen ? FAILURES.closed : FAILURES.connect);
  }

  override onDrain(): void {
    this.#sink?.upstreamDrained();
  }

  #opened(): void {
    const sink = this.#sink;
    if (sink === undefined) return;
    this.#isOpen = true;
    sink.responseHead.parse(OPENED, 0, OPENED.length, RESPONSE_RULES);
    sink.tunnelOpened(OPENED, 0, 0);
  }

  /** Both halves have ended: the exchange is over, and only what is written has yet to be read. */
  #over(): void {
    this.#sink = undefined;
    this.lingerUntilRead();
  }
}
