import type { TypedDocument } from './documents/types.ts';

/** A leased document that left without a goodbye. */
export interface Departure {
  readonly key: string;
  readonly node: string;
  /** Node documents leave together with their instances and are kept along with them, but not counted. */
  readonly isInstance: boolean;
  readonly atMs: number;
}

/** More than this share of the instances leaving within one lease life is a registry in trouble. */
const SHARE = 0.15;
const FEWEST = 4;

/** The departure that the deletion of a document is; undefined for documents that are not leased, and for goodbyes. */
export function departureOf(
  key: string,
  { kind, document }: TypedDocument,
  atMs: number,
): Departure | undefined {
  if (kind === 'nodes') return { key, node: document.name, isInstance: false, atMs };
  if (kind !== 'instances') return undefined;
  // Taken out by its own gateway first: a rolling restart is no disaster.
  if (document.state === 'draining' || document.state === 'maintenance') return undefined;
  return { key, node: document.node, isInstance: true, atMs };
}

/**
 * Whether these departures, all within one lease life, are too many to be believed. One node's are
 * always believed: in a small mesh it easily is more than the share.
 *
 * @param staying instances in force apart from these
 */
export function isMassExpiry(departures: readonly Departure[], staying: number): boolean {
  const instances = departures.filter((departure) => departure.isInstance);
  const nodes = new Set(instances.map((departure) => departure.node));
  const all = instances.length + staying;
  return instances.length >= FEWEST && nodes.size > 1 && instances.length > all * SHARE;
}
