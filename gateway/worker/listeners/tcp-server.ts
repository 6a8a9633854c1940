import type { Socket } from 'node:net';
import type { DataPlane } from '../data-plane.ts';
import type { Arrival } from '../request/identify.ts';
import type { Downstream } from '../request/ports.ts';
import { BadMessage } from '../codec/bad-message.ts';
import { readServerName } from '../codec/client-hello.ts';
import { Exchange } from '../request/exchange.ts';
import { clientAddressOf, readFrom } from '../sockets.ts';
import { Wire } from '../wire.ts';

const HELLO_TIMEOUT_MS = 10_000;

type State = 'hello' | 'opening' | 'open';

/**
 * One client's TCP connection, which is one exchange: it is read only once an instance has taken it, so
 * that nothing is lost when the first one cannot be reached. What cannot be served is reset.
 */
export class TcpServer extends Wire implements Downstream {
  readonly clientAddress: string;
  readonly #exchange: Exchange;
  readonly #onGone: () => void;
  readonly #since: number;
  #state: State;
  /** What was read to learn the server name; the service gets it first. */
  #hello: Buffer | undefined;
  #hasAnswered = false;
  #hasClientEnded = false;

  /** @param isTls the client is routed by the server name in its ClientHello */
  constructor(
    socket: Socket,
    plane: DataPlane,
    arrival: Arrival,
    isTls: boolean,
    onGone: () => void,
  ) {
    super(socket);
    this.clientAddress = clientAddressOf(socket);
    this.#onGone = onGone;
    this.#exchange = new Exchange(plane, this, arrival);
    this.#since = plane.now();
    this.#state = isTls ? 'hello' : 'opening';
  }

  start(): void {
    if (this.#state === 'hello') readFrom(this.socket, this);
    else this.#begin('');
  }

  checkIdle(nowMs: number): void {
    if (this.#state === 'hello' && nowMs - this.#since > HELLO_TIMEOUT_MS) {
      this.#refuse('the TLS ClientHello did not arrive in time');
    }
  }

  drain(): void {
    if (this.#state === 'hello') this.reset();
  }

  override onBytes(bytes: Buffer, start: number, end: number): void {
    if (this.#state === 'open') this.#exchange.requestBody(bytes, start, end);
    else this.#readHello(bytes, start, end);
  }

  override onEnd(): void {
    this.#hasClientEnded = true;
    if (this.#state === 'hello') this.#refuse('no whole TLS ClientHello');
    else if (this.#state === 'open') this.#clientEnded();
  }

  override onClosed(): void {
    this.#exchange.downstreamGone();
    this.#onGone();
  }

  override onDrain(): void {
    this.#exchange.downstreamDrained();
  }

  /** An answer in the place of a connection: there is none. */
  respond(): boolean {
    this.reset();
    return true;
  }

  respondBody(bytes: Buffer, start: number, end: number): boolean {
    return this.writeBytes(bytes, start, end);
  }

  respondEnd(): void {
    this.#hasAnswered = true;
    this.finish();
    if (this.#hasClientEnded) this.lingerUntilRead();
  }

  inform(): void {
    // For who speaks HTTP.
  }

  readBody(isWanted: boolean): void {
    if (isWanted) this.resume();
    else this.pause();
  }

  abort(): void {
    this.reset();
  }

  openTunnel(): void {
    this.#state = 'open';
    const hello = this.#hello;
    this.#hello = undefined;
    if (hello === undefined) readFrom(this.socket, this);
    else {
      this.#exchange.requestBody(hello, 0, hello.length);
      this.resume();
    }
    // It may have ended while nobody read; then there is no further event.
    if (this.#hasClientEnded || this.socket.readableEnded) this.#clientEnded();
  }

  #clientEnded(): void {
    this.#hasClientEnded = true;
    this.#exchange.requestEnded('');
    if (this.#hasAnswered) this.lingerUntilRead();
  }

  #readHello(bytes: Buffer, start: number, end: number): void {
    const more = bytes.subarray(start, end);
    this.#hello =
      this.#hello === undefined ? Buffer.from(more) : Buffer.concat([this.#hello, more]);
    if (this.#state === 'opening') return;
    try {
      const name = readServerName(this.#hello);
      if (name === undefined) return;
      this.pause();
      this.#begin(name);
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      this.#refuse(error.message);
    }
  }

  #begin(serverName: string): void {
    this.#state = 'opening';
    this.#exchange.requestHead.openTcp(serverName);
    this.#exchange.begin(undefined, 0, 0, true);
  }

  #refuse(why: string): void {
    this.#state = 'opening';
    this.#exchange.refused(0, why);
    this.reset();
  }
}
