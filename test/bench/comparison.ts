import { messageOf } from '#kit/errors.ts';
import { Unusable, type Entrant, type Measure, type Peer, type Sample } from './measure.ts';
import { rowsOf, type Figures, type Row } from './report.ts';
import type { Stand } from './stand.ts';

/** What is known of one entrant. */
interface Record {
  readonly entrant: Entrant;
  readonly samples: Sample[];
  /** Why rounds do not count. */
  readonly unusable: string[];
  /** It does not work: it is not measured further, and what was measured of it is not shown. */
  error: string | undefined;
}

/** One measure with everything that takes part in it. */
export class Comparison {
  readonly #measure: Measure;
  readonly #stand: Stand;
  readonly #ours: readonly Record[];
  readonly #peers: readonly (Pick<Peer, 'target'> & { readonly record: Record })[];
  readonly #controls: readonly Record[];

  private constructor(
    measure: Measure,
    stand: Stand,
    ours: readonly Entrant[],
    peers: readonly Peer[],
    controls: readonly Entrant[],
  ) {
    this.#measure = measure;
    this.#stand = stand;
    this.#ours = ours.map(recordOf);
    this.#peers = peers.map(({ entrant, ...rest }) => ({ ...rest, record: recordOf(entrant) }));
    this.#controls = controls.map(recordOf);
  }

  /** Starts what the measure needs. What does not start is said in its rows; the rest is measured all the same. */
  static async prepare(measure: Measure, stand: Stand): Promise<Comparison> {
    const ours = await measure.ours(stand).catch((error) => [broken('gatemesh', error)]);
    const peers = await measure
      .peers(stand)
      .catch((error): readonly Peer[] => [{ entrant: broken('peers', error) }]);
    const controls = (await measure.controls?.(stand)) ?? [];
    return new Comparison(measure, stand, ours, peers, controls);
  }

  get #records(): readonly Record[] {
    return [...this.#ours, ...this.#peers.map(({ record }) => record), ...this.#controls];
  }

  /** Each entrant once, beginning with another one every round: who comes first finds the machine coolest. */
  async run(round: number): Promise<void> {
    if (round >= (this.#measure.mostRounds ?? Infinity)) return;
    const records = this.#records;
    try {
      await this.#measure.beginRound?.(this.#stand);
    } catch (error) {
      for (const record of records) note(record, error);
      return;
    }
    for (let at = 0; at < records.length; at++) {
      const record = records[(at + round) % records.length]!;
      if (record.error !== undefined) continue;
      try {
        record.samples.push(await record.entrant.take());
      } catch (error) {
        note(record, error);
      }
    }
  }

  figures(): readonly Figures[] {
    return this.#records.map((record) => this.#figuresOf(record));
  }

  rows(): readonly Row[] {
    const peers = this.#peers.map(({ record, target }) => ({
      figures: this.#figuresOf(record),
      target,
    }));
    return this.#ours.flatMap((record) => rowsOf(this.#figuresOf(record), peers));
  }

  #figuresOf({ entrant: { name }, samples, unusable, error }: Record): Figures {
    const measure = this.#measure;
    if (error !== undefined) return { measure, name, samples: [], unusable, error };
    return { measure, name, samples, unusable, error: undefined };
  }
}

function recordOf(entrant: Entrant): Record {
  return { entrant, samples: [], unusable: [], error: undefined };
}

function note(record: Record, error: unknown): void {
  if (error instanceof Unusable) record.unusable.push(error.message);
  else record.error = messageOf(error);
}

/** Stands for what could not be started. */
function broken(name: string, error: unknown): Entrant {
  return { name, take: () => Promise.reject(error) };
}
