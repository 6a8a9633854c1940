import type { Log } from '#kit/log.ts';
import type { DocumentSet, DocumentText } from './document-set.ts';
import { departureOf, isMassExpiry, type Departure } from './expiry-rule.ts';
import { CONFIRMATIONS, judge, type Hold } from './hold-rule.ts';

export interface RetentionOptions {
  readonly holdGapMs: number;
  readonly leaseTtlMs: number;
  readonly log: Log;
}

const REGISTRY_WAS_AWAY = 'gateways expired while the registry was away: kept them for now';

/**
 * Documents kept in force although the registry has them no more: after a list that misses too much
 * (`hold-rule.ts`), after too many expiries in a row (`expiry-rule.ts`), and when the registry itself was
 * away just before: no gateway could keep its lease alive then. Keeps count only; the view applies what it says.
 */
export class Retention {
  readonly #set: DocumentSet;
  readonly #options: RetentionOptions;
  #hold: Hold | undefined;
  /** Left within the last lease life, with the text to bring back. */
  #departures: (Departure & { readonly text: DocumentText })[] = [];
  /** Key of an expired document that is kept, to the time it may go. */
  readonly #expired = new Map<string, number>();
  /** Up to here an expiry says more about the registry than about the gateway. */
  #doubtUntilMs = -Infinity;

  constructor(set: DocumentSet, options: RetentionOptions) {
    this.#set = set;
    this.#options = options;
  }

  /** For people: what is kept and why; undefined when nothing is. */
  get held(): string | undefined {
    const reasons: string[] = [];
    if (this.#hold !== undefined) {
      const { reason, keys, confirmations } = this.#hold;
      const so = `${confirmations} of ${CONFIRMATIONS} further readings say so`;
      reasons.push(`${reason}; ${keys.size} documents kept, ${so}`);
    }
    if (this.#expired.size > 0) {
      const seconds = this.#options.leaseTtlMs / 1_000;
      reasons.push(
        `${this.#expired.size} documents of gateways expired within ${seconds} s; kept for ${seconds} s`,
      );
    }
    return reasons.length === 0 ? undefined : reasons.join('. ');
  }

  /** When `settle` has something to do. */
  get dueMs(): number | undefined {
    const times = [...this.#expired.values()];
    if (this.#hold !== undefined) times.push(this.#hold.readAtMs + this.#options.holdGapMs);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** `settle` wants the keys that stand in the registry now. */
  get needsReading(): boolean {
    return this.#hold !== undefined;
  }

  /** The registry answers again after it was silent for so long that leases may have ended meanwhile. */
  interrupted(nowMs: number): void {
    this.#doubtUntilMs = nowMs + this.#options.leaseTtlMs;
  }

  /** The keys to delete after a whole list. */
  judgeList(present: ReadonlySet<string>, nowMs: number): Iterable<string> {
    this.#departures = [];
    for (const [key, untilMs] of this.#expired) {
      if (present.has(key) || untilMs <= nowMs) this.#expired.delete(key);
    }
    const wasHeld = this.#hold !== undefined;
    const remove = this.#judge(this.#set.keys(), present, nowMs);
    if (wasHeld || nowMs >= this.#doubtUntilMs) return remove;
    const leaving = [...remove].flatMap((key) => this.#departureOf(key, nowMs));
    this.#keep(leaving, REGISTRY_WAS_AWAY);
    return [...remove].filter((key) => !this.#expired.has(key));
  }

  /** The keys of one revision to delete, and texts to bring back. */
  judgeEvents(
    puts: readonly DocumentText[],
    gone: readonly string[],
    nowMs: number,
  ): { readonly deletes: readonly string[]; readonly restore: readonly DocumentText[] } {
    const { leaseTtlMs } = this.#options;
    this.#forget(new Set(puts.map(({ key }) => key)));
    const leaving = gone.flatMap((key) => this.#departureOf(key, nowMs));
    const since = nowMs - leaseTtlMs;
    const before = this.#departures.filter(({ atMs }) => atMs > since);
    this.#departures = [...before, ...leaving];
    if (leaving.length === 0) return { deletes: gone, restore: [] };
    let restore: typeof before = [];
    if (isMassExpiry(this.#departures, this.#staying(leaving))) {
      restore = before.filter(({ key }) => !this.#expired.has(key));
      this.#keep(this.#departures, 'too many gateways expired: kept them for now');
    } else if (nowMs < this.#doubtUntilMs) {
      this.#keep(leaving, REGISTRY_WAS_AWAY);
    }
    const deletes = gone.filter((key) => !this.#expired.has(key));
    return { deletes, restore: restore.map(({ text }) => text) };
  }

  /** The keys to delete now. `present` is needed when `needsReading` says so. */
  settle(present: ReadonlySet<string> | undefined, nowMs: number): Iterable<string> {
    const over: string[] = [];
    for (const [key, untilMs] of this.#expired) {
      if (untilMs > nowMs) continue;
      this.#expired.delete(key);
      over.push(key);
    }
    if (this.#hold === undefined || present === undefined) return over;
    // Only these: the reading may be older than what the watch has brought since.
    return [...over, ...this.#judge(this.#hold.keys, present, nowMs)];
  }

  #keep(departures: readonly Departure[], why: string): void {
    const { leaseTtlMs, log } = this.#options;
    for (const { key, atMs } of departures) {
      if (!this.#expired.has(key)) this.#expired.set(key, atMs + leaseTtlMs);
    }
    if (departures.length > 0) log.error({ keys: [...this.#expired.keys()] }, why);
  }

  #judge(keys: Iterable<string>, present: ReadonlySet<string>, nowMs: number): ReadonlySet<string> {
    const missing = new Set<string>();
    for (const key of keys) {
      if (!present.has(key) && !this.#expired.has(key)) missing.add(key);
    }
    const { holdGapMs, log } = this.#options;
    const before = this.#hold;
    const { remove, hold } = judge(before, { missing, ...this.#count(missing) }, nowMs, holdGapMs);
    this.#hold = hold;
    if (hold !== undefined && before === undefined) log.error({ held: this.held }, hold.reason);
    if (hold === undefined && before !== undefined) {
      log.warn({ removed: missing.size }, 'what was kept against the registry is given up');
    }
    return remove ?? new Set();
  }

  #count(missing: ReadonlySet<string>) {
    const count = { instances: 0, routes: 0, missingInstances: 0, missingRoutes: 0 };
    for (const [key, { kind }] of this.#set.documents) {
      if (this.#expired.has(key)) continue;
      const gone = missing.has(key) ? 1 : 0;
      if (kind === 'instances') {
        count.instances++;
        count.missingInstances += gone;
      } else if (kind === 'routes' || kind === 'tcp-routes') {
        count.routes++;
        count.missingRoutes += gone;
      }
    }
    return count;
  }

  /** What comes back is not missing. */
  #forget(keys: ReadonlySet<string>): void {
    this.#departures = this.#departures.filter(({ key }) => !keys.has(key));
    for (const key of keys) this.#expired.delete(key);
    if (this.#hold === undefined) return;
    const still = this.#hold.keys.difference(keys);
    this.#hold = still.size === 0 ? undefined : { ...this.#hold, keys: still };
  }

  #departureOf(key: string, atMs: number): (Departure & { readonly text: DocumentText })[] {
    const typed = this.#set.documents.get(key);
    const text = this.#set.textOf(key);
    if (typed === undefined || text === undefined) return [];
    const departure = departureOf(key, typed, atMs);
    return departure === undefined ? [] : [{ ...departure, text }];
  }

  /** Instances in force apart from the departed. */
  #staying(leaving: readonly Departure[]): number {
    const gone = new Set(leaving.map(({ key }) => key));
    let staying = 0;
    for (const [key, { kind }] of this.#set.documents) {
      if (kind === 'instances' && !gone.has(key) && !this.#expired.has(key)) staying++;
    }
    return staying;
  }
}
