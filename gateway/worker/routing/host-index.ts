import type { CompiledRoute } from './compiled-route.ts';
import { HostRoutes } from './host-routes.ts';
import type { RequestView } from './request-view.ts';

const MESH_SUFFIX = '.mesh';

/** The service a host names: `orders.mesh` and `orders` are the same to its callers. */
export function serviceNamed(host: string): string {
  return host.endsWith(MESH_SUFFIX) ? host.slice(0, -MESH_SUFFIX.length) : host;
}

/**
 * The routes of one edge gateway, or of all egress listeners, by host. For a request the patterns that match its
 * host are asked from the most specific to the least: the exact host, `*.example.com` (longest suffix first, any
 * number of labels), `*`. Priority goes before that: a route of a less specific pattern wins when its priority is
 * higher. For egress `orders` and `orders.mesh` are one host, and a bare name without a dot is also under `*.mesh`.
 */
export class HostIndex {
  readonly #isEgress: boolean;
  readonly #patterns = new Map<string, HostRoutes>();
  readonly #exact = new Map<string, HostRoutes>();
  /** By suffix with its dot. */
  readonly #suffixes = new Map<string, HostRoutes>();
  #suffixPriority = Number.NEGATIVE_INFINITY;
  #any: HostRoutes | undefined;

  /**
   * @param routes by host pattern; for egress exact hosts come without `.mesh`
   * @param previous hosts whose routes are the very same are taken over from it
   */
  constructor(
    isEgress: boolean,
    routes: ReadonlyMap<string, readonly CompiledRoute[]>,
    previous: HostIndex | undefined,
  ) {
    this.#isEgress = isEgress;
    for (const [pattern, list] of routes) {
      const known = previous?.routesOf(pattern);
      this.#add(
        pattern,
        known !== undefined && hasSame(known, list) ? known : new HostRoutes(list),
      );
    }
  }

  #add(pattern: string, routes: HostRoutes): void {
    this.#patterns.set(pattern, routes);
    if (pattern === '*') {
      this.#any = routes;
    } else if (pattern.startsWith('*.')) {
      this.#suffixes.set(pattern.slice(1), routes);
      this.#suffixPriority = Math.max(this.#suffixPriority, routes.highestPriority);
    } else {
      this.#exact.set(pattern, routes);
      if (this.#isEgress) this.#exact.set(pattern + MESH_SUFFIX, routes);
    }
  }

  routesOf(pattern: string): HostRoutes | undefined {
    return this.#patterns.get(pattern);
  }

  match(source: string, request: RequestView): CompiledRoute | undefined {
    let best = this.#exact.get(request.host)?.match(source, request);
    if (this.#suffixes.size > 0 && !isSettled(best, this.#suffixPriority)) {
      best = this.#matchSuffixes(best, source, request);
    }
    if (this.#any !== undefined && !isSettled(best, this.#any.highestPriority)) {
      best = better(best, this.#any.match(source, request));
    }
    return best;
  }

  /** Takes a substring per label of the host, so it is only for what the exact host did not settle. */
  #matchSuffixes(
    exact: CompiledRoute | undefined,
    source: string,
    request: RequestView,
  ): CompiledRoute | undefined {
    const { host } = request;
    let best = exact;
    for (let dot = host.indexOf('.', 1); dot > 0; dot = host.indexOf('.', dot + 1)) {
      const routes = this.#suffixes.get(host.slice(dot));
      if (routes !== undefined) best = better(best, routes.match(source, request));
    }
    if (this.#isEgress && !host.includes('.')) {
      const routes = this.#suffixes.get(MESH_SUFFIX);
      if (routes !== undefined) best = better(best, routes.match(source, request));
    }
    return best;
  }

  /** Every route whose host matches, in the order in which they count. For people: slow. */
  ordered(host: string): readonly CompiledRoute[] {
    const lists = [this.#exact.get(host)];
    for (let dot = host.indexOf('.', 1); dot > 0; dot = host.indexOf('.', dot + 1)) {
      lists.push(this.#suffixes.get(host.slice(dot)));
    }
    if (this.#isEgress && !host.includes('.')) lists.push(this.#suffixes.get(MESH_SUFFIX));
    lists.push(this.#any);
    const routes = new Set(lists.flatMap((list) => list?.routes ?? []));
    // The sort is stable: what is equal in priority stays in the order of its host patterns.
    return [...routes].toSorted((a, b) => b.document.priority - a.document.priority);
  }
}

/** Less specific hosts of at most this priority cannot beat what was found. */
function isSettled(found: CompiledRoute | undefined, priority: number): boolean {
  return found !== undefined && found.document.priority >= priority;
}

function better(
  best: CompiledRoute | undefined,
  next: CompiledRoute | undefined,
): CompiledRoute | undefined {
  if (best === undefined || next === undefined) return best ?? next;
  return next.document.priority > best.document.priority ? next : best;
}

function hasSame(known: HostRoutes, routes: readonly CompiledRoute[]): boolean {
  if (known.routes.length !== routes.length) return false;
  if (routes.length === 1) return known.routes[0] === routes[0];
  const now = new Set(routes);
  return known.routes.every((route) => now.has(route));
}
