import type { Cancel } from '#kit/clock.ts';

/**
 * The registry's engine, reduced to what the mesh needs. Keys are relative to the configured prefix
 * (`config/routes/shop`), values are UTF-8 text. Two implementations, one contract test: `etcd` and `embedded`.
 *
 * Every call settles within a few seconds (the implementation's deadline); a server that cannot be
 * reached rejects with MeshError `store_unreachable` (exit code 69).
 */
export interface Store {
  /** For messages: `etcd at https://10.0.0.10:2379`, `embedded registry in /var/lib/…`. */
  readonly name: string;
  /** All entries whose key starts with `prefix`, in key order, as of one revision. */
  range(prefix: string): Promise<RangeResult>;
  get(key: string): Promise<Entry | undefined>;
  put(key: string, value: string, lease?: LeaseId): Promise<{ readonly revision: number }>;
  /** Deletes one key; `deleted` says whether there was one. */
  delete(key: string): Promise<{ readonly revision: number; readonly deleted: boolean }>;
  /** All of `compare` hold: run `success`; else run `failure`. One revision, whole or not at all. At most 128 operations. */
  txn(txn: Txn): Promise<TxnResult>;
  /** Every change to keys under `prefix` from `fromRevision` on, in order, whole revisions at a time. */
  watch(prefix: string, fromRevision: number, watcher: Watcher): Cancel;
  /** A lease that ends `ttlSeconds` after the last keep-alive, taking its keys along. */
  grant(ttlSeconds: number): Promise<LeaseId>;
  /** Resolves to the seconds left; rejects with MeshError `lease_lost` when the lease is gone. */
  keepAlive(lease: LeaseId): Promise<number>;
  revoke(lease: LeaseId): Promise<void>;
  close(): Promise<void>;
}

export type LeaseId = string;

export interface Entry {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  /** 1 for a new key, then counting up. */
  readonly version: number;
  readonly lease: LeaseId | undefined;
}

export interface RangeResult {
  /** The store's revision when it was read; a watch continues at `revision + 1`. */
  readonly revision: number;
  /** Changes when the store was replaced (restore, wipe): a revision then means nothing any more. */
  readonly clusterId: string;
  readonly entries: readonly Entry[];
}

export type StoreEvent =
  | { readonly type: 'put'; readonly key: string; readonly entry: Entry }
  | { readonly type: 'delete'; readonly key: string; readonly modRevision: number };

export interface Watcher {
  /** All events of one revision or of several whole ones; never half of one. */
  onEvents(revision: number, events: readonly StoreEvent[]): void;
  /** The server answered and nothing has changed up to this revision. Called at least every 10 s while all is well. */
  onProgress(revision: number): void;
  /** Any doubt (cancel, compaction, revision or cluster id going back, silence, disconnect): the watch is over; list again. */
  onLost(reason: string): void;
}

export type Compare =
  | {
      readonly key: string;
      readonly target: 'version';
      readonly op: '==' | '>';
      readonly value: number;
    }
  | {
      readonly key: string;
      readonly target: 'modRevision';
      readonly op: '==' | '>';
      readonly value: number;
    }
  | { readonly key: string; readonly target: 'value'; readonly op: '=='; readonly value: string };

export type TxnOp =
  | { readonly type: 'put'; readonly key: string; readonly value: string; readonly lease?: LeaseId }
  | { readonly type: 'delete'; readonly key: string }
  | { readonly type: 'get'; readonly key: string };

export interface Txn {
  readonly compare: readonly Compare[];
  readonly success: readonly TxnOp[];
  readonly failure?: readonly TxnOp[];
}

export interface TxnResult {
  readonly succeeded: boolean;
  readonly revision: number;
  /** Entries of the `get` operations that ran, in their order. */
  readonly gets: readonly (Entry | undefined)[];
}
