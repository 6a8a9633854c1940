import type { Stand } from './stand.ts';

/** What a figure is, and which one is wanted. */
export interface Unit {
  /** Its value in every sample of the measure. */
  readonly key: string;
  readonly name: string;
  readonly better: 'lower' | 'higher';
  /** Wanted of ours, whatever the peers do. */
  readonly atMost?: number;
}

/** What one round of one entrant gave. */
export interface Sample {
  /** By the keys of the measure's units. */
  readonly values: Readonly<Record<string, number>>;
  /** What was seen besides, for the eye and for JSON: a number, or a text with its unit. */
  readonly seen: Readonly<Record<string, number | string>>;
}

/** One that takes part in a measure. */
export interface Entrant {
  readonly name: string;
  /** @throws Unusable when this round says nothing about it; any other error: it does not work */
  take(): Promise<Sample>;
}

export interface Peer {
  readonly entrant: Entrant;
  /** The ratio ours/peer that is wanted of the measure's first unit: at most where lower is better, else at least. */
  readonly target?: number;
}

/** What is asked of ours and peers in turn. */
export interface Measure {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  /** A row for each; peers' targets are for the first. */
  readonly units: readonly [Unit, ...Unit[]];
  /** Fewer than `--rounds` says, where a round takes long or says no more than the first. */
  readonly mostRounds?: number;
  ours(stand: Stand): Promise<readonly Entrant[]>;
  /** None: ours alone, against `atMost`. */
  peers(stand: Stand): Promise<readonly Peer[]>;
  /** Measured to show what the method itself is worth; they get no row. */
  controls?(stand: Stand): Promise<readonly Entrant[]>;
  /** Before the entrants of each round. */
  beginRound?(stand: Stand): Promise<void>;
}

/** The machine was too busy to say anything: this round does not count. */
export class Unusable extends Error {}
