/** One family as prom-client's `aggregate` takes it: values of equal labels are combined by `aggregator`. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly aggregator: 'sum' | 'min' | 'max';
  readonly values: readonly Sample[];
}

export interface Sample {
  readonly value: number;
  readonly labels: Labels;
  /** Only for the parts of a histogram: `…_bucket`, `…_sum`, `…_count`. */
  readonly metricName?: string;
}

export type Labels = Readonly<Record<string, string>>;

/** What a label says when its series was one too many. */
const OTHER = 'other';

/** Labels that take few values by nature, and keep theirs. */
const KEPT: ReadonlySet<string> = new Set(['direction']);

/**
 * Bounds the number of series of one family. Whoever was there first keeps its place while it exists: a series that moved
 * between its own name and `other` would look like a counter that was reset.
 */
export class SeriesCap {
  readonly #limit: number;
  #admitted = new Set<string>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The same rows, those beyond the limit under `other`; equal ones are left to the aggregator. */
  apply<Row extends { readonly labels: Labels }>(rows: readonly Row[]): Row[] {
    const keys = rows.map(({ labels }) => Object.values(labels).join('\0'));
    const present = new Set(keys);
    this.#admitted = this.#admitted.intersection(present);
    for (const key of present) {
      if (this.#admitted.size >= this.#limit) break;
      this.#admitted.add(key);
    }
    return rows.map((row, i) =>
      this.#admitted.has(keys[i]!) ? row : { ...row, labels: overflow(row.labels) },
    );
  }
}

function overflow(labels: Labels): Labels {
  return Object.fromEntries(
    Object.entries(labels).map(([name, value]) => [name, KEPT.has(name) ? value : OTHER]),
  );
}
