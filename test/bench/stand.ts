import type { Bed } from './bed.ts';

export interface Pace {
  /** Length of one round of one entrant. */
  readonly seconds: number;
  /** To show that it works: small numbers wherever a measure has large ones. */
  readonly quick: boolean;
}

/** Something that is set up on the stand once, however many measures use it. */
export type Part<T> = (stand: Stand) => Promise<T>;

/** What is set up for this run: each part is started when a chosen measure first wants it. */
export class Stand {
  readonly bed: Bed;
  readonly pace: Pace;
  readonly #parts = new Map<Part<unknown>, Promise<unknown>>();

  constructor(bed: Bed, pace: Pace) {
    this.bed = bed;
    this.pace = pace;
  }

  /** The part, started at the first call; the error of the start at every call. */
  use<T>(part: Part<T>): Promise<T> {
    const started = this.#parts.getOrInsertComputed(part, () => part(this));
    // The key is the function that made the value.
    return started as Promise<T>;
  }
}
