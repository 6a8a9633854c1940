import { randomBytes } from 'node:crypto';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { MeshError } from '#kit/errors.ts';
import type {
  Compare,
  Entry,
  LeaseId,
  RangeResult,
  StoreEvent,
  Txn,
  TxnOp,
  TxnResult,
} from './store.ts';

/** Raised when the tables change shape; a file of a newer program is refused instead of damaged. */
const SCHEMA_VERSION = 1;

/** How long a statement waits for another process's transaction; those last a few milliseconds. */
const BUSY_TIMEOUT_MS = 2_000;

const SCHEMA = `
  CREATE TABLE meta (cluster_id TEXT NOT NULL, revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
  CREATE TABLE entries (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, create_revision INTEGER NOT NULL,
    mod_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease TEXT
  ) WITHOUT ROWID;
  CREATE INDEX entries_by_lease ON entries (lease) WHERE lease IS NOT NULL;
  CREATE TABLE events (
    mod_revision INTEGER NOT NULL, seq INTEGER NOT NULL, key TEXT NOT NULL, value TEXT,
    create_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease TEXT,
    PRIMARY KEY (mod_revision, seq)
  ) WITHOUT ROWID;
  CREATE TABLE leases (id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL, beats INTEGER NOT NULL) WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

interface EntryRow {
  readonly key: string;
  readonly value: string;
  readonly create_revision: number;
  readonly mod_revision: number;
  readonly version: number;
  readonly lease: string | null;
}

interface EventRow extends Omit<EntryRow, 'value'> {
  /** Null: the key was deleted. */
  readonly value: string | null;
}

export interface Meta {
  readonly cluster_id: string;
  readonly revision: number;
  /** Events up to and including this revision are gone. */
  readonly compacted: number;
}

/** A lease counts its keep-alives; who sees the count stand still for longer than the TTL may end it. */
export interface LeaseRow {
  readonly id: LeaseId;
  readonly ttl_ms: number;
  readonly beats: number;
}

/** The registry's tables in one SQLite file: everything here is synchronous and whole. Throws what SQLite throws. */
export class EmbeddedDatabase {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(file: string) {
    this.#db = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    try {
      this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
      this.write(() => this.#createTables());
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  #createTables(): void {
    const { user_version: found } = this.#row<{ user_version: number }>('PRAGMA user_version')!;
    if (found > SCHEMA_VERSION) {
      throw new Error(
        `it was written by a newer gatemesh (format ${found}, this one knows ${SCHEMA_VERSION})`,
      );
    }
    if (found === SCHEMA_VERSION) return;
    this.#db.exec(SCHEMA);
    const clusterId = randomBytes(8).toString('hex');
    // Like etcd, an empty store is at revision 1.
    this.#run('INSERT INTO meta VALUES (?, 1, 0)', clusterId);
  }

  close(): void {
    this.#db.close();
  }

  /** Runs `work` in one write transaction: all of it or, when it throws, nothing. */
  write<T>(work: () => T): T {
    // IMMEDIATE, because a read lock that turns into a write lock later fails at once when another process writes.
    return this.#transaction('BEGIN IMMEDIATE', work);
  }

  /** Runs `work` on one unchanging state of the tables. */
  read<T>(work: () => T): T {
    return this.#transaction('BEGIN', work);
  }

  #transaction<T>(begin: string, work: () => T): T {
    this.#db.exec(begin);
    try {
      const result = work();
      this.#db.exec('COMMIT');
      return result;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
  }

  /** A number that changes whenever another connection commits. */
  dataVersion(): number {
    return this.#row<{ data_version: number }>('PRAGMA data_version')!.data_version;
  }

  meta(): Meta {
    return this.#row<Meta>('SELECT * FROM meta')!;
  }

  range(prefix: string): RangeResult {
    return this.read(() => {
      const { revision, cluster_id: clusterId } = this.meta();
      const rows = this.#rows<EntryRow>(
        'SELECT * FROM entries WHERE key >= ? AND key < ? ORDER BY key',
        ...bounds(prefix),
      );
      return { revision, clusterId, entries: rows.map(entryOf) };
    });
  }

  get(key: string): Entry | undefined {
    const row = this.#row<EntryRow>('SELECT * FROM entries WHERE key = ?', key);
    return row === undefined ? undefined : entryOf(row);
  }

  txn({ compare, success, failure = [] }: Txn): TxnResult & { readonly deleted: number } {
    return this.write(() => {
      const succeeded = compare.every((condition) => this.#holds(condition));
      return { succeeded, ...this.#apply(succeeded ? success : failure) };
    });
  }

  #holds(condition: Compare): boolean {
    const entry = this.get(condition.key);
    if (condition.target === 'value') return entry?.value === condition.value;
    // A missing key has version and revision 0, as in etcd.
    const actual = entry?.[condition.target] ?? 0;
    return condition.op === '==' ? actual === condition.value : actual > condition.value;
  }

  /** One revision for all of them; none when nothing was written. */
  #apply(ops: readonly TxnOp[]): Omit<TxnResult, 'succeeded'> & { readonly deleted: number } {
    const before = this.meta().revision;
    const revision = before + 1;
    const gets: (Entry | undefined)[] = [];
    let seq = 0;
    let deleted = 0;
    for (const op of ops) {
      switch (op.type) {
        case 'get':
          gets.push(this.get(op.key));
          break;
        case 'put':
          this.#put(revision, seq++, op.key, op.value, op.lease);
          break;
        case 'delete':
          if (this.#remove(revision, seq, op.key)) {
            seq++;
            deleted++;
          }
          break;
      }
    }
    if (seq > 0) this.#run('UPDATE meta SET revision = ?', revision);
    return { revision: seq > 0 ? revision : before, gets, deleted };
  }

  #put(revision: number, seq: number, key: string, value: string, lease?: LeaseId): void {
    if (lease !== undefined && this.lease(lease) === undefined) throw leaseLost(lease);
    const before = this.get(key);
    const created = before?.createRevision ?? revision;
    const version = (before?.version ?? 0) + 1;
    this.#run(
      'INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)',
      ...[key, value, created, revision, version, lease ?? null],
    );
    this.#run(
      'INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)',
      ...[revision, seq, key, value, created, version, lease ?? null],
    );
  }

  #remove(revision: number, seq: number, key: string): boolean {
    if (this.#run('DELETE FROM entries WHERE key = ?', key) === 0) return false;
    this.#run('INSERT INTO events VALUES (?, ?, ?, NULL, 0, 0, NULL)', revision, seq, key);
    return true;
  }

  /** Events of keys under `prefix` from a revision on, of at most `revisions` further revisions. */
  events(prefix: string, from: number, revisions: number): readonly StoreEvent[] {
    const rows = this.#rows<EventRow>(
      `SELECT * FROM events WHERE mod_revision >= ? AND mod_revision < ? AND key >= ? AND key < ?
       ORDER BY mod_revision, seq`,
      ...[from, from + revisions, ...bounds(prefix)],
    );
    return rows.map((row) => {
      const { key, value, mod_revision: modRevision } = row;
      if (value === null) return { type: 'delete', key, modRevision };
      return { type: 'put', key, entry: entryOf({ ...row, value }) };
    });
  }

  /** Forgets the events up to and including `revision`. */
  compact(revision: number): void {
    this.write(() => {
      this.#run('DELETE FROM events WHERE mod_revision <= ?', revision);
      this.#run('UPDATE meta SET compacted = ? WHERE compacted < ?', revision, revision);
    });
  }

  grant(ttlMs: number): LeaseId {
    const id = randomBytes(8).toString('hex');
    this.write(() => this.#run('INSERT INTO leases VALUES (?, ?, 0)', id, ttlMs));
    return id;
  }

  lease(id: LeaseId): LeaseRow | undefined {
    return this.#row<LeaseRow>('SELECT * FROM leases WHERE id = ?', id);
  }

  leases(): readonly LeaseRow[] {
    return this.#rows<LeaseRow>('SELECT * FROM leases');
  }

  beat(id: LeaseId): LeaseRow {
    return this.write(() => {
      this.#run('UPDATE leases SET beats = beats + 1 WHERE id = ?', id);
      const lease = this.lease(id);
      if (lease === undefined) throw leaseLost(id);
      return lease;
    });
  }

  /** Ends a lease and deletes its keys; with `beats`, only if it was not kept alive since. Undefined: not done. */
  endLease(id: LeaseId, beats?: number): { readonly keys: readonly string[] } | undefined {
    return this.write(() => {
      const lease = this.lease(id);
      if (lease === undefined || (beats !== undefined && lease.beats !== beats)) return undefined;
      const rows = this.#rows<{ key: string }>('SELECT key FROM entries WHERE lease = ?', id);
      const keys = rows.map((row) => row.key);
      this.#apply(keys.map((key) => ({ type: 'delete', key })));
      this.#run('DELETE FROM leases WHERE id = ?', id);
      return { keys };
    });
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }

  #row<T>(sql: string, ...values: SQLInputValue[]): T | undefined {
    return this.#prepare(sql).get(...values) as T | undefined;
  }

  #rows<T>(sql: string, ...values: SQLInputValue[]): T[] {
    return this.#prepare(sql).all(...values) as T[];
  }

  #run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#prepare(sql).run(...values).changes);
  }
}

function bounds(prefix: string): [from: string, to: string] {
  // Nothing sorts behind U+10FFFF, and no key of the mesh contains it.
  return [prefix, `${prefix}\u{10FFFF}`];
}

function entryOf(row: EntryRow): Entry {
  const { key, value, version } = row;
  return {
    key,
    value,
    version,
    createRevision: row.create_revision,
    modRevision: row.mod_revision,
    lease: row.lease ?? undefined,
  };
}

function leaseLost(id: LeaseId): MeshError {
  return new MeshError(
    'lease_lost',
    `the lease ${id} has expired or was revoked: ask for a new one and put its keys again`,
  );
}
