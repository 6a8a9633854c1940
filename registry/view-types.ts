import type { Rejection, TypedDocument } from './documents/types.ts';

/** What changed from one applied revision to the next; `reset` replaces everything there was. */
export interface RegistryChange {
  readonly revision: number;
  readonly reset: boolean;
  /** Key (relative to the prefix) to its parsed document. */
  readonly put: readonly (readonly [key: string, document: TypedDocument])[];
  readonly deleted: readonly string[];
}

export interface RegistryState {
  readonly revision: number;
  /** Where the tables came from: the registry itself, the last-known-good snapshot, or nowhere yet. */
  readonly source: 'registry' | 'disk' | 'none';
  readonly connected: boolean;
  /** Monotonic ms when the registry last proved that this is current; undefined before the first time. */
  readonly currentAt: number | undefined;
  readonly rejected: readonly Rejection[];
  readonly documents: ReadonlyMap<string, TypedDocument>;
  /** Set while a resync that would remove most instances or all routes is held back: what it would have done. */
  readonly held: string | undefined;
}
