/** A body up to this size is kept, so that the request can be sent again. */
const MAX_KEPT_BYTES = 65_536;

/** A request's body so far, while it is small enough to be sent again. */
export class KeptBody {
  #pieces: Buffer[] | undefined;
  #bytes = 0;

  /** All that came is here. */
  get isWhole(): boolean {
    return this.#pieces !== undefined;
  }

  begin(): void {
    this.#pieces = [];
    this.#bytes = 0;
  }

  /** Copies; without effect once it grew too large. */
  add(bytes: Buffer, start: number, end: number): void {
    if (this.#pieces === undefined) return;
    this.#bytes += end - start;
    if (this.#bytes > MAX_KEPT_BYTES) this.#pieces = undefined;
    else this.#pieces.push(Buffer.from(bytes.subarray(start, end)));
  }

  drop(): void {
    this.#pieces = undefined;
  }

  bytes(): Buffer | undefined {
    return this.#pieces === undefined || this.#bytes === 0
      ? undefined
      : Buffer.concat(this.#pieces);
  }
}
