/** What a fresh reading of the whole registry says about the documents in force. */
export interface Reading {
  readonly instances: number;
  readonly routes: number;
  /** Keys in force that the reading does not have. */
  readonly missing: ReadonlySet<string>;
  readonly missingInstances: number;
  readonly missingRoutes: number;
}

/** Keys kept in force although the registry has them no more, until it has said so often enough. */
export interface Hold {
  readonly keys: ReadonlySet<string>;
  /** Further readings that said the same. */
  readonly confirmations: number;
  readonly readAtMs: number;
  /** For people: what is held back. */
  readonly reason: string;
}

/** Losing more than this share of the instances at once looks like a broken registry rather than a broken mesh. */
const MOST = 0.5;
/** In a smaller mesh one node may well be more than half of it. */
const FEWEST_INSTANCES = 4;
/** Further readings that must say the same. */
export const CONFIRMATIONS = 2;

/** Why a reading is not to be believed at once; undefined when it is. */
export function suspicion(reading: Reading): string | undefined {
  const { instances, routes, missingInstances, missingRoutes } = reading;
  const mostInstances = instances >= FEWEST_INSTANCES && missingInstances > instances * MOST;
  const allRoutes = routes > 0 && missingRoutes === routes;
  if (!mostInstances && !allRoutes) return undefined;
  return (
    'the registry came back without ' +
    `${missingInstances} of ${instances} instances and ${missingRoutes} of ${routes} routes`
  );
}

export type Verdict =
  | { readonly remove: ReadonlySet<string>; readonly hold: undefined }
  | { readonly remove: undefined; readonly hold: Hold };

/**
 * Whether the missing keys may go. A suspicious reading must come again twice, `gapMs` apart; a
 * reading that misses still more starts the count again, one that misses less does not.
 */
export function judge(
  hold: Hold | undefined,
  reading: Reading,
  nowMs: number,
  gapMs: number,
): Verdict {
  const { missing } = reading;
  const reason = suspicion(reading);
  if (reason === undefined) return { remove: missing, hold: undefined };
  if (hold === undefined || !missing.isSubsetOf(hold.keys)) {
    return {
      remove: undefined,
      hold: { keys: missing, confirmations: 0, readAtMs: nowMs, reason },
    };
  }
  if (nowMs - hold.readAtMs < gapMs) {
    return { remove: undefined, hold: { ...hold, keys: missing, reason } };
  }
  const confirmations = hold.confirmations + 1;
  if (confirmations >= CONFIRMATIONS) return { remove: missing, hold: undefined };
  return { remove: undefined, hold: { keys: missing, confirmations, readAtMs: nowMs, reason } };
}
