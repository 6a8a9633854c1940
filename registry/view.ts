import { fullJitter } from '#kit/backoff.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import { messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type { Rng } from '#kit/rng.ts';
import { DocumentSet, type Difference, type DocumentRules } from './document-set.ts';
import type { DocumentText } from './document-set.ts';
import type { Rejection } from './documents/types.ts';
import { LEASE_TTL_SECONDS } from './registrar.ts';
import { Retention } from './retention.ts';
import type { SnapshotContent } from './snapshot.ts';
import type { RangeResult, Store, StoreEvent } from './store/store.ts';
import type { RegistryChange, RegistryState } from './view-types.ts';

/** Waits between two attempts to list are drawn up to here, so that a fleet does not return all at once. */
const RETRY_BASE_MS = 200;
const RETRY_MAX_MS = 3_000;

const HOLD_GAP_MS = 10_000;

export interface RegistryViewOptions extends DocumentRules {
  readonly store: Store;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
  /** The kind of document a key holds; undefined when it holds none. */
  readonly classify: (key: string) => { readonly kind: string } | undefined;
  readonly lastGood?: SnapshotContent;
  /** Time between two readings that confirm a suspicious one. */
  readonly holdGapMs?: number;
  readonly leaseTtlMs?: number;
}

/**
 * The registry's documents as this gateway has them in force. Lists everything at one revision and
 * watches from the next; any doubt about the watch means list again and apply the difference. Changes
 * are applied per revision, whole. Starts from the last good snapshot and keeps what it has while the
 * registry is away.
 */
export class RegistryView {
  readonly #options: RegistryViewOptions;
  readonly #set: DocumentSet;
  readonly #retention: Retention;
  readonly #leaseTtlMs: number;
  readonly #changeListeners = new Set<(change: RegistryChange) => void>();
  readonly #stateListeners = new Set<(state: RegistryState) => void>();
  #revision = 0;
  #source: RegistryState['source'] = 'none';
  #connected = false;
  #currentAt: number | undefined;
  #clusterId: string | undefined;
  #attempt = 0;
  #running = false;
  /** Counts connections, so that what belongs to an earlier one is ignored. */
  #connection = 0;
  #cancelWatch: Cancel = () => {};
  #cancelRetry: Cancel = () => {};
  #cancelSettle: Cancel = () => {};
  #reported = new Map<string, Rejection>();
  #lastProblem = '';

  constructor(options: RegistryViewOptions) {
    this.#options = options;
    this.#set = new DocumentSet(options, options.lastGood?.services);
    this.#leaseTtlMs = options.leaseTtlMs ?? LEASE_TTL_SECONDS * 1_000;
    this.#retention = new Retention(this.#set, {
      holdGapMs: options.holdGapMs ?? HOLD_GAP_MS,
      leaseTtlMs: this.#leaseTtlMs,
      log: options.log,
    });
  }

  get state(): RegistryState {
    return {
      revision: this.#revision,
      source: this.#source,
      connected: this.#connected,
      currentAt: this.#currentAt,
      rejected: this.#set.rejections,
      documents: this.#set.documents,
      held: this.#retention.held,
    };
  }

  /** What to save so that a later start has these documents without the registry. */
  get snapshot(): SnapshotContent {
    const documents = [...this.#set.texts()];
    return { revision: this.#revision, documents, services: [...this.#set.services] };
  }

  /** Hears of every applied revision that touched documents, in order; the first change is a `reset`. */
  onChange(listener: (change: RegistryChange) => void): Cancel {
    this.#changeListeners.add(listener);
    return () => void this.#changeListeners.delete(listener);
  }

  /** Hears of changed documents, rejections, connection and holds; not of each revision that only moved the counter. */
  onState(listener: (state: RegistryState) => void): Cancel {
    this.#stateListeners.add(listener);
    return () => void this.#stateListeners.delete(listener);
  }

  /** Puts the snapshot in force, if there is one, and begins to follow the registry. */
  start(): void {
    this.#running = true;
    const { lastGood, log } = this.#options;
    if (lastGood !== undefined) {
      const { put, refused } = this.#set.restore(lastGood.documents);
      for (const { key, error } of refused) {
        log.warn({ key, error }, 'left a document of the snapshot out: it does not parse any more');
      }
      this.#revision = lastGood.revision;
      this.#source = 'disk';
      this.#emit({ put, deleted: [] }, true);
    }
    void this.#connect();
  }

  stop(): void {
    this.#running = false;
    this.#connection++;
    this.#cancelWatch();
    this.#cancelRetry();
    this.#cancelSettle();
    this.#connected = false;
  }

  async #connect(): Promise<void> {
    const connection = ++this.#connection;
    const isMine = () => this.#running && connection === this.#connection;
    let list: RangeResult;
    try {
      list = await this.#options.store.range('');
    } catch (error) {
      if (isMine()) this.#retry(messageOf(error));
      return;
    }
    if (!isMine()) return;
    this.#takeList(list);
    this.#cancelWatch = this.#options.store.watch('', list.revision + 1, {
      onEvents: (revision, events) => isMine() && this.#takeEvents(revision, events),
      onProgress: (revision) => isMine() && this.#takeProgress(revision),
      onLost: (reason) => isMine() && this.#retry(reason),
    });
  }

  /** Lists again after a drawn wait; says so once for each loss of the connection. */
  #retry(problem: string): void {
    const { clock, rng, log, store } = this.#options;
    this.#cancelWatch();
    const waitMs = fullJitter(this.#attempt++, RETRY_BASE_MS, RETRY_MAX_MS, rng);
    if (this.#connected || problem !== this.#lastProblem) {
      log.warn({ store: store.name, problem, retryInMs: waitMs }, 'not following the registry');
    }
    this.#lastProblem = problem;
    this.#connection++;
    this.#cancelRetry = clock.after(waitMs, () => void this.#connect());
    if (this.#connected) {
      this.#connected = false;
      this.#publishState();
    }
  }

  #takeList({ revision, clusterId, entries }: RangeResult): void {
    const { log, clock, store } = this.#options;
    if (this.#clusterId !== undefined && this.#clusterId !== clusterId) {
      log.warn({ from: this.#clusterId, to: clusterId }, 'the registry was replaced by another');
    } else if (revision < this.#revision) {
      log.warn({ from: this.#revision, to: revision }, 'the revision of the registry went back');
    }
    this.#clusterId = clusterId;
    const puts = entries.filter(({ key }) => this.#concerns(key)).map(textOf);
    this.#heard();
    const deletes = this.#retention.judgeList(new Set(puts.map(({ key }) => key)), clock.now());
    const difference = this.#set.apply(puts, deletes);

    const first = this.#source === 'none';
    const unchanged = !first && revision === this.#revision && isEmpty(difference);
    this.#revision = revision;
    this.#source = 'registry';
    if (!this.#connected) {
      log.info({ store: store.name, revision }, 'following the registry');
      this.#connected = true;
    }
    this.#lastProblem = '';
    this.#planSettle();
    if (unchanged) this.#publishState();
    else this.#emit(difference, first);
  }

  #takeEvents(revision: number, events: readonly StoreEvent[]): void {
    this.#heard();
    this.#attempt = 0;
    const relevant = events.filter(({ key }) => this.#concerns(key));
    for (const [at, group] of Map.groupBy(relevant, revisionOf)) this.#takeRevision(at, group);
    this.#revision = Math.max(this.#revision, revision);
  }

  /** All changes of one revision; a key changes at most once in it. */
  #takeRevision(revision: number, events: readonly StoreEvent[]): void {
    const puts = events.flatMap((event) => (event.type === 'put' ? [textOf(event.entry)] : []));
    const gone = events.flatMap((event) => (event.type === 'delete' ? [event.key] : []));
    const now = this.#options.clock.now();
    const { deletes, restore } = this.#retention.judgeEvents(puts, gone, now);
    const restored = this.#set.restore(restore);
    const applied = this.#set.apply(puts, deletes);
    this.#revision = revision;
    this.#planSettle();
    this.#emit({ put: [...restored.put, ...applied.put], deleted: applied.deleted }, false);
  }

  #takeProgress(revision: number): void {
    this.#heard();
    this.#attempt = 0;
    this.#revision = Math.max(this.#revision, revision);
  }

  /** A store says something every few seconds; a lease that was kept alive outlives half of its life without it. */
  #heard(): void {
    const now = this.#options.clock.now();
    const silentMs = now - (this.#currentAt ?? now);
    if (silentMs > this.#leaseTtlMs / 2) this.#retention.interrupted(now);
    this.#currentAt = now;
  }

  /** Kept documents whose time is over, or that another reading of the registry has to confirm. */
  #planSettle(): void {
    this.#cancelSettle();
    const dueMs = this.#retention.dueMs;
    if (dueMs === undefined) return;
    const { clock } = this.#options;
    this.#cancelSettle = clock.after(dueMs - clock.now(), () => void this.#settle());
  }

  async #settle(): Promise<void> {
    // While the registry is away nothing is known about what is missing; the next list judges.
    if (!this.#connected) return;
    const connection = this.#connection;
    const isMine = () => this.#running && connection === this.#connection;
    let present: Set<string> | undefined;
    if (this.#retention.needsReading) {
      try {
        const { entries } = await this.#options.store.range('');
        present = new Set(entries.map(({ key }) => key));
      } catch (error) {
        if (isMine()) this.#retry(messageOf(error));
        return;
      }
    }
    if (!isMine()) return;
    const deletes = this.#retention.settle(present, this.#options.clock.now());
    const difference = this.#set.apply([], deletes);
    this.#planSettle();
    if (isEmpty(difference)) this.#publishState();
    else this.#emit(difference, false);
  }

  /** Documents, and keys under `config/` that hold none: people type those, so they are told. */
  #concerns(key: string): boolean {
    const kind = this.#options.classify(key)?.kind;
    return kind === undefined ? key.startsWith('config/') : kind !== 'status';
  }

  #emit({ put, deleted }: Difference, reset: boolean): void {
    const documents = reset ? [...this.#set.documents] : put;
    const change = { revision: this.#revision, reset, put: documents, deleted };
    this.#tell(this.#changeListeners, change);
    this.#publishState();
  }

  #publishState(): void {
    this.#reportRejections();
    this.#tell(this.#stateListeners, this.state);
  }

  /** A listener that throws must neither keep others from hearing nor look like a fault of the watch. */
  #tell<T>(listeners: ReadonlySet<(value: T) => void>, value: T): void {
    for (const listener of [...listeners]) {
      try {
        listener(value);
      } catch (error) {
        this.#options.log.error({ err: error }, 'a listener of the registry view failed');
      }
    }
  }

  #reportRejections(): void {
    const { log } = this.#options;
    const now = new Map(this.#set.rejections.map((rejection) => [rejection.key, rejection]));
    for (const [key, rejection] of now) {
      if (this.#reported.get(key)?.error === rejection.error) continue;
      const instead =
        rejection.using === null ? 'none' : `its version of revision ${rejection.using}`;
      log.warn({ ...rejection }, `rejected a document; in force: ${instead}`);
    }
    for (const key of this.#reported.keys()) {
      if (!now.has(key)) log.info({ key }, 'a rejected document was corrected or deleted');
    }
    this.#reported = now;
  }
}

function isEmpty({ put, deleted }: Difference): boolean {
  return put.length === 0 && deleted.length === 0;
}

function textOf(entry: {
  readonly key: string;
  readonly modRevision: number;
  readonly value: string;
}): DocumentText {
  return { key: entry.key, revision: entry.modRevision, text: entry.value };
}

function revisionOf(event: StoreEvent): number {
  return event.type === 'put' ? event.entry.modRevision : event.modRevision;
}
