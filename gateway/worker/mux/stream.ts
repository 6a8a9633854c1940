import type { MuxConnection } from './connection.ts';
import { MAX_DATA_BYTES, MuxError, TYPE, WINDOW_BYTES } from './frames.ts';

/**
 * One end of a stream: the two halves and their flow control. A sender may have WINDOW_BYTES under
 * way; the receiver opens the window again as it passes bytes on, so that one slow reader holds back
 * its own stream and no other.
 */
export abstract class MuxStream {
  id = 0;
  protected readonly connection: MuxConnection;
  #sendWindow = WINDOW_BYTES;
  #receiveWindow = WINDOW_BYTES;
  /** Received and passed on, not yet told to the sender. */
  #credit = 0;
  #isReading = true;
  /** What the sender's window had no room for. */
  #queued: Buffer[] | undefined;
  #queuedTrailers: string | undefined;
  #mustTellDrained = false;
  protected hasSentEnd = false;
  protected hasReceivedEnd = false;

  constructor(connection: MuxConnection) {
    this.connection = connection;
  }

  /** Ready for another life under a new number. */
  protected reopen(id: number): void {
    this.id = id;
    this.#sendWindow = WINDOW_BYTES;
    this.#receiveWindow = WINDOW_BYTES;
    this.#credit = 0;
    this.#isReading = true;
    this.#queued = undefined;
    this.#queuedTrailers = undefined;
    this.#mustTellDrained = false;
    this.hasSentEnd = false;
    this.hasReceivedEnd = false;
  }

  protected abstract onData(bytes: Buffer, start: number, end: number): void;
  protected abstract onEnd(trailers: string): void;
  abstract resetArrived(reason: number): void;
  /** The connection is gone. */
  abstract connectionLost(): void;
  /** What was queued has left. */
  protected abstract onSendable(): void;

  // === out ===

  /** @returns false when the source should pause until `onSendable` */
  protected send(bytes: Buffer, start: number, end: number): boolean {
    let at = start;
    if (this.#queued === undefined) at = this.#sendWithinWindow(bytes, start, end);
    if (at < end) (this.#queued ??= []).push(Buffer.from(bytes.subarray(at, end)));
    const flows = this.#queued === undefined && !this.connection.isClogged;
    this.#mustTellDrained = !flows;
    return flows;
  }

  protected sendEndOfStream(trailers: string): void {
    if (this.hasSentEnd) return;
    if (this.#queued !== undefined) {
      this.#queuedTrailers = trailers;
      return;
    }
    this.hasSentEnd = true;
    this.connection.sendTrailers(this.id, trailers);
  }

  /** Body bytes that went along in HEAD count as well. */
  protected spend(bytes: number): void {
    this.#sendWindow -= bytes;
  }

  windowArrived(increment: number): void {
    this.#sendWindow += increment;
    if (increment === 0 || this.#sendWindow > WINDOW_BYTES)
      throw new MuxError('a window that cannot be');
    if (this.#queued !== undefined && !this.#sendQueued(this.#queued)) return;
    if (this.#queuedTrailers !== undefined) {
      const trailers = this.#queuedTrailers;
      this.#queuedTrailers = undefined;
      this.sendEndOfStream(trailers);
    }
    this.drained();
  }

  drained(): void {
    if (!this.#mustTellDrained || this.#queued !== undefined || this.connection.isClogged) return;
    this.#mustTellDrained = false;
    this.onSendable();
  }

  /** @returns whether all of it has left */
  #sendQueued(queued: Buffer[]): boolean {
    for (const [i, piece] of queued.entries()) {
      const sent = this.#sendWithinWindow(piece, 0, piece.length);
      if (sent === piece.length) continue;
      this.#queued = [piece.subarray(sent), ...queued.slice(i + 1)];
      return false;
    }
    this.#queued = undefined;
    return true;
  }

  #sendWithinWindow(bytes: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end && this.#sendWindow > 0) {
      const until = Math.min(end, at + MAX_DATA_BYTES, at + this.#sendWindow);
      this.connection.sendData(this.id, bytes, at, until, false);
      this.#sendWindow -= until - at;
      at = until;
    }
    return at;
  }

  // === in ===

  dataArrived(bytes: Buffer, start: number, end: number): void {
    this.arrived(end - start);
    this.onData(bytes, start, end);
    this.#giveCredit();
  }

  endArrived(trailers: string): void {
    if (this.hasReceivedEnd) throw new MuxError('a stream that ends twice');
    this.hasReceivedEnd = true;
    this.onEnd(trailers);
  }

  /** Accounts for body bytes taken in, also those in HEAD. */
  protected arrived(bytes: number): void {
    if (this.hasReceivedEnd) throw new MuxError('data behind the end of a stream');
    this.#receiveWindow -= bytes;
    if (this.#receiveWindow < 0) throw new MuxError('more data than the window allows');
    this.#credit += bytes;
  }

  /** Not reading keeps the window shut: the sender stops after what is under way. */
  protected setReading(isReading: boolean): void {
    this.#isReading = isReading;
    if (isReading) this.#giveCredit();
  }

  #giveCredit(): void {
    if (!this.#isReading || this.hasReceivedEnd || this.#credit < WINDOW_BYTES / 2) return;
    this.#receiveWindow += this.#credit;
    this.connection.sendNumber(TYPE.window, 0, this.id, this.#credit);
    this.#credit = 0;
  }
}
