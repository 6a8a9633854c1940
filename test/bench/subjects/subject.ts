/** Something that is measured: where it is asked, and whose processor time it costs. */
export interface Subject {
  readonly name: string;
  readonly url: string;
  /** Host header, where the URL's own does not say what is meant. */
  readonly host: string | undefined;
  /** How many routes it has, and for how many of them the load asks in turn, where that is what is measured. */
  readonly routes?: { readonly count: number; readonly asked: number };
  /** Its processes; their descendants count too. */
  readonly pids: readonly number[];
  /** Processes among them that carry no traffic; their own time is stated beside. */
  readonly aside: readonly number[];
}

/** One that is started anew for every sample: what was before would be seen in its memory. */
export interface Fresh {
  readonly name: string;
  /** Ready. */
  start(): Promise<{
    readonly port: number;
    readonly pids: readonly number[];
    readonly aside: readonly number[];
  }>;
}

export function peer(name: string, url: string, pids: readonly number[]): Subject {
  return { name, url, host: undefined, pids, aside: [] };
}
