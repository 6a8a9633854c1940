import { compareRoutes, type CompiledRoute } from './compiled-route.ts';
import { unmet } from './conditions.ts';
import { describePath, pathMatches } from './path-rule.ts';
import { PrefixTree } from './prefix-tree.ts';
import type { RequestView } from './request-view.ts';

/** Up to this many routes a walk in order beats the index. */
const WALKED = 6;

interface Ranked {
  /** Place in the order of the host's routes; no two are alike. */
  readonly rank: number;
  readonly route: CompiledRoute;
}

/** By path kind, each list in order. */
interface Index {
  readonly exact: ReadonlyMap<string, readonly Ranked[]>;
  readonly prefixes: PrefixTree<readonly Ranked[]>;
  readonly regexes: readonly Ranked[];
}

/**
 * The routes of one host pattern. With many of them the cost of a match is the path's length plus the routes on
 * the very same path and the host's regexes: those can only be tried one by one.
 */
export class HostRoutes {
  /** In order. */
  readonly routes: readonly CompiledRoute[];
  readonly highestPriority: number;
  readonly #index: Index | undefined;

  /** @param routes at least one */
  constructor(routes: readonly CompiledRoute[]) {
    this.routes = routes.toSorted(compareRoutes);
    this.highestPriority = this.routes[0]!.document.priority;
    this.#index = routes.length > WALKED ? indexOf(this.routes) : undefined;
  }

  match(source: string, request: RequestView): CompiledRoute | undefined {
    if (this.#index !== undefined) return find(this.#index, source, request);
    for (let i = 0; i < this.routes.length; i++) {
      const route = this.routes[i]!;
      if (
        pathMatches(route.path, request.path) &&
        unmet(route.conditions, source, request) === undefined
      ) {
        return route;
      }
    }
    return undefined;
  }
}

/** For people: the first thing about the request that this route does not match; '' when it matches. */
export function mismatch(route: CompiledRoute, source: string, request: RequestView): string {
  if (!pathMatches(route.path, request.path)) return `the path is not ${describePath(route.path)}`;
  return unmet(route.conditions, source, request) ?? '';
}

function indexOf(routes: readonly CompiledRoute[]): Index {
  const exact = new Map<string, Ranked[]>();
  const prefixes = new Map<string, Ranked[]>();
  const regexes: Ranked[] = [];
  for (const [rank, route] of routes.entries()) {
    const ranked = { rank, route };
    switch (route.path.kind) {
      case 'exact':
        listAt(exact, route.path.path).push(ranked);
        break;
      case 'prefix':
        listAt(prefixes, route.path.prefix).push(ranked);
        break;
      case 'regex':
        regexes.push(ranked);
        break;
    }
  }
  return { exact, prefixes: new PrefixTree(prefixes), regexes };
}

function listAt(lists: Map<string, Ranked[]>, key: string): Ranked[] {
  let list = lists.get(key);
  if (list === undefined) lists.set(key, (list = []));
  return list;
}

/** The lowest rank over all three kinds: priority can put a short prefix before an exact path. */
function find(index: Index, source: string, request: RequestView): CompiledRoute | undefined {
  const { path } = request;
  let best: Ranked | undefined;
  const exact = index.exact.get(path);
  if (exact !== undefined) best = firstMet(exact, best, source, request);

  let hit = index.prefixes.longest(path);
  while (hit !== undefined) {
    best = firstMet(hit.value, best, source, request);
    hit = index.prefixes.shorter(hit, path);
  }

  for (let i = 0; i < index.regexes.length; i++) {
    const ranked = index.regexes[i]!;
    if (best !== undefined && ranked.rank > best.rank) break;
    if (
      pathMatches(ranked.route.path, path) &&
      unmet(ranked.route.conditions, source, request) === undefined
    ) {
      best = ranked;
      break;
    }
  }
  return best?.route;
}

/** The first of the list whose conditions are met, if it comes before `best`; else `best`. */
function firstMet(
  list: readonly Ranked[],
  best: Ranked | undefined,
  source: string,
  request: RequestView,
): Ranked | undefined {
  for (let i = 0; i < list.length; i++) {
    const ranked = list[i]!;
    if (best !== undefined && ranked.rank > best.rank) return best;
    if (unmet(ranked.route.conditions, source, request) === undefined) return ranked;
  }
  return best;
}
