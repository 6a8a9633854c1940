import type { Socket } from 'node:net';
import { borrow, LOAN_BYTES } from './loans.ts';

/** Above this much unsent data a source is paused until the socket drains. */
const HIGH_WATER_BYTES = 262_144;
/** What is shorter gets memory of its own: a slow reader must not hold 64 KiB for each hundred bytes. */
const WORTH_A_LOAN_BYTES = 8_192;
/** A peer that reads nothing for this long will not get the rest. */
const LINGER_MS = 60_000;

/**
 * A socket reduced to what the data path needs: bytes in, text and bytes out, pause, and one ending.
 * All tricks with Node's sockets live here and in `dial.ts`.
 */
export abstract class Wire {
  readonly socket: Socket;
  #isPaused = false;
  #isClosed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('end', () => {
      if (!this.#isClosed) this.onEnd();
    });
    socket.on('drain', () => {
      if (!this.#isClosed) this.onDrain();
    });
    // Without a listener an error on any socket ends the process (CVE-2025-59465 was one).
    socket.on('error', (error) => this.#close(error));
    socket.on('close', () => this.#close(undefined));
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** More waits to be sent than a source may add to. */
  get isClogged(): boolean {
    return this.socket.writableLength >= HIGH_WATER_BYTES;
  }

  /** Bytes in [start, end); the buffer is used again after the call. */
  abstract onBytes(bytes: Buffer, start: number, end: number): void;
  /** The peer has sent its last byte, and may still read. */
  abstract onEnd(): void;
  /** Once, whatever the reason. */
  abstract onClosed(error: Error | undefined): void;
  /** All that was written has left; a paused source may go on. */
  abstract onDrain(): void;

  /** @returns false when the source should pause until `onDrain` */
  write(text: string): boolean {
    this.socket.write(text, 'latin1');
    return !this.isClogged;
  }

  /** Copies: `bytes` belongs to whoever is reading. */
  writeBytes(bytes: Buffer, start: number, end: number): boolean {
    const length = end - start;
    if (length < WORTH_A_LOAN_BYTES || length > LOAN_BYTES) {
      this.socket.write(Buffer.from(bytes.subarray(start, end)));
    } else {
      const loan = borrow();
      bytes.copy(loan.bytes, 0, start, end);
      this.socket.write(loan.bytes.subarray(0, length), loan.giveBack);
    }
    return !this.isClogged;
  }

  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.socket.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.socket.resume();
  }

  /** Sends what is written, then FIN. */
  finish(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Ends it so that the peer cannot take it for a proper end. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Both sides have said their last: what is written leaves as long as the peer goes on reading. */
  lingerUntilRead(): void {
    this.socket.setTimeout(LINGER_MS, () => this.destroy());
  }

  /** The socket is somebody else's from here on; nothing is called any more, `onClosed` neither. */
  protected letGo(): void {
    this.#isClosed = true;
  }

  #close(error: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.socket.destroy();
    this.onClosed(error);
  }
}
