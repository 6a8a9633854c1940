import { systemClock, type Cancel, type Clock } from '#kit/clock.ts';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { checkTxn } from './check-txn.ts';
import { EmbeddedDatabase } from './embedded-db.ts';
import type { LeaseId, Store, StoreEvent, TxnOp, Watcher } from './store.ts';

/** How often other processes' writes are looked for; a look is one PRAGMA, without reading the file. */
const POLL_MS = 100;
const PROGRESS_MS = 5_000;
/** Revisions kept for watches that lag behind; etcd's auto-compaction plays the same part. */
const KEEP_REVISIONS = 10_000;
/** Revisions handed to a watcher in one go. */
const BATCH_REVISIONS = 500;
const OPEN_ATTEMPTS = 50;
const OPEN_RETRY_MS = 40;

export interface EmbeddedOptions {
  /** Path of the database file (its folder must exist), or `:memory:`. */
  readonly file: string;
  readonly log: Log;
  readonly clock?: Clock;
  /** Revisions kept for watches. */
  readonly keepRevisions?: number;
}

/**
 * The registry of one machine: a SQLite file that several processes may have open at once.
 *
 * A lease ends when its keep-alive count stood still for its TTL by the monotonic clock of any process
 * that has the file open; as with etcd the TTL is a minimum, and after a restart of all it starts again.
 *
 * @throws MeshError `store_unreachable` when the file cannot be opened
 */
export async function openEmbeddedStore(options: EmbeddedOptions): Promise<Store> {
  const clock = options.clock ?? systemClock;
  for (let attempt = 1; ; attempt++) {
    try {
      return new EmbeddedStore(new EmbeddedDatabase(options.file), clock, options);
    } catch (error) {
      // Switching a fresh file to WAL does not wait for the process that is doing the same.
      if (!isBusy(error) || attempt === OPEN_ATTEMPTS) throw unreachable(options.file, error);
    }
    await new Promise<void>((resolve) => setTimeout(resolve, OPEN_RETRY_MS));
  }
}

interface Watch {
  readonly prefix: string;
  readonly watcher: Watcher;
  /** The next revision to hand out. */
  next: number;
  heardAt: number;
}

interface LeaseSeen {
  readonly ttlMs: number;
  readonly beats: number;
  readonly sinceMs: number;
}

class EmbeddedStore implements Store {
  readonly name: string;
  readonly #file: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #keepRevisions: number;
  readonly #watches = new Set<Watch>();
  readonly #leases = new Map<LeaseId, LeaseSeen>();
  #db: EmbeddedDatabase | undefined;
  #dataVersion = -1;
  #cancelPoll: Cancel = () => {};
  #pumpPlanned = false;

  constructor(db: EmbeddedDatabase, clock: Clock, options: EmbeddedOptions) {
    this.#db = db;
    this.#clock = clock;
    this.#log = options.log;
    this.#file = options.file;
    this.#keepRevisions = options.keepRevisions ?? KEEP_REVISIONS;
    this.name =
      options.file === ':memory:'
        ? 'embedded registry in memory'
        : `embedded registry in ${options.file}`;
    this.#poll();
  }

  async range(prefix: string) {
    return this.#use((db) => db.range(prefix));
  }

  async get(key: string) {
    return this.#use((db) => db.get(key));
  }

  async put(key: string, value: string, lease?: LeaseId) {
    const put = { type: 'put', key, value, ...(lease === undefined ? {} : { lease }) } as const;
    return { revision: this.#write([put]).revision };
  }

  async delete(key: string) {
    const { revision, deleted } = this.#write([{ type: 'delete', key }]);
    return { revision, deleted: deleted > 0 };
  }

  async txn(txn: Parameters<Store['txn']>[0]) {
    checkTxn(txn);
    const { deleted: _, ...result } = this.#use((db) => db.txn(txn));
    this.#afterWrite();
    return result;
  }

  #write(success: readonly TxnOp[]) {
    const result = this.#use((db) => db.txn({ compare: [], success }));
    this.#afterWrite();
    return result;
  }

  watch(prefix: string, fromRevision: number, watcher: Watcher): Cancel {
    const watch: Watch = { prefix, watcher, next: fromRevision, heardAt: this.#clock.now() };
    this.#watches.add(watch);
    this.#planPump();
    return () => void this.#watches.delete(watch);
  }

  async grant(ttlSeconds: number) {
    const id = this.#use((db) => db.grant(ttlSeconds * 1_000));
    this.#noteLeases();
    return id;
  }

  async keepAlive(lease: LeaseId) {
    const { beats, ttl_ms: ttlMs } = this.#use((db) => db.beat(lease));
    this.#leases.set(lease, { ttlMs, beats, sinceMs: this.#clock.now() });
    return ttlMs / 1_000;
  }

  async revoke(lease: LeaseId) {
    this.#use((db) => db.endLease(lease));
    this.#leases.delete(lease);
    this.#afterWrite();
  }

  async close() {
    this.#cancelPoll();
    this.#watches.clear();
    this.#db?.close();
    this.#db = undefined;
  }

  #use<T>(work: (db: EmbeddedDatabase) => T): T {
    if (this.#db === undefined) {
      throw new MeshError('store_closed', `${this.name} was closed by this process`);
    }
    try {
      return work(this.#db);
    } catch (error) {
      if (error instanceof MeshError) throw error;
      throw unreachable(this.#file, error);
    }
  }

  /** Other processes' writes, leases that ended, progress. */
  #poll(): void {
    try {
      this.#use((db) => {
        const version = db.dataVersion();
        if (version !== this.#dataVersion) this.#noteLeases();
        this.#dataVersion = version;
      });
      this.#sweep();
      this.#pump();
    } catch (error) {
      // A full disk or a broken file: every watch is in doubt, and the next poll tries again.
      this.#loseAll(messageOf(error));
    }
    if (this.#db !== undefined) this.#cancelPoll = this.#clock.after(POLL_MS, () => this.#poll());
  }

  #noteLeases(): void {
    const now = this.#clock.now();
    const rows = this.#use((db) => db.leases());
    const alive = new Set(rows.map((row) => row.id));
    for (const id of this.#leases.keys()) if (!alive.has(id)) this.#leases.delete(id);
    for (const { id, ttl_ms: ttlMs, beats } of rows) {
      if (this.#leases.get(id)?.beats === beats) continue;
      this.#leases.set(id, { ttlMs, beats, sinceMs: now });
    }
  }

  #sweep(): void {
    const now = this.#clock.now();
    for (const [id, { ttlMs, beats, sinceMs }] of this.#leases) {
      if (now - sinceMs <= ttlMs) continue;
      const ended = this.#use((db) => db.endLease(id, beats));
      if (ended === undefined) continue;
      this.#leases.delete(id);
      this.#log.info({ lease: id, keys: ended.keys }, 'a registry lease expired');
    }
  }

  #afterWrite(): void {
    this.#use((db) => {
      const { revision, compacted } = db.meta();
      // A tenth more, so that not every write compacts.
      if (revision - compacted > this.#keepRevisions * 1.1) {
        db.compact(revision - this.#keepRevisions);
      }
    });
    this.#planPump();
  }

  /** Watchers hear of a write after the call that made it has returned. */
  #planPump(): void {
    if (this.#pumpPlanned) return;
    this.#pumpPlanned = true;
    setImmediate(() => {
      this.#pumpPlanned = false;
      if (this.#db === undefined) return;
      try {
        this.#pump();
      } catch (error) {
        this.#loseAll(messageOf(error));
      }
    });
  }

  #pump(): void {
    for (const watch of [...this.#watches]) this.#feed(watch);
  }

  #feed(watch: Watch): void {
    for (;;) {
      const batch = this.#use((db) => db.read(() => nextBatch(db, watch)));
      // A watcher that cancels inside its own callback gets nothing more.
      if (!this.#watches.has(watch)) return;
      if (typeof batch === 'string') return this.#lose(watch, batch);

      const { through, events, revision } = batch;
      const now = this.#clock.now();
      const tellProgress = now - watch.heardAt >= PROGRESS_MS;
      watch.next = through + 1;
      if (events.length > 0 || tellProgress) watch.heardAt = now;
      if (events.length > 0) watch.watcher.onEvents(through, events);
      else if (tellProgress) watch.watcher.onProgress(through);
      if (through === revision) return;
    }
  }

  #lose(watch: Watch, reason: string): void {
    if (this.#watches.delete(watch)) watch.watcher.onLost(reason);
  }

  #loseAll(reason: string): void {
    for (const watch of [...this.#watches]) this.#lose(watch, reason);
  }
}

interface Batch {
  readonly events: readonly StoreEvent[];
  /** Everything up to this revision is in `events` or earlier. */
  readonly through: number;
  readonly revision: number;
}

/** What a watch has not heard yet, or why it cannot go on. */
function nextBatch(db: EmbeddedDatabase, watch: Watch): Batch | string {
  const { revision, compacted } = db.meta();
  const { next, prefix } = watch;
  if (next <= compacted) return `compacted: revisions up to ${compacted} are gone`;
  if (next > revision + 1) return `the revision went back from ${next - 1} to ${revision}`;
  const events = next > revision ? [] : db.events(prefix, next, BATCH_REVISIONS);
  const through = Math.min(revision, next + BATCH_REVISIONS - 1);
  return { events, through, revision };
}

function isBusy(error: unknown): boolean {
  return messageOf(error).includes('database is locked');
}

function unreachable(file: string, cause: unknown): MeshError {
  return new MeshError(
    'store_unreachable',
    `cannot use the registry file ${file}: ${messageOf(cause)}; ` +
      'its folder must exist and this user must be able to write both',
    { cause, exitCode: EXIT.unreachable },
  );
}
