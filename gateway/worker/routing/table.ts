import type { RouteDocument } from '../../../registry/documents/types.ts';
import { compileRoute, type CompiledRoute } from './compiled-route.ts';
import { HostIndex, serviceNamed } from './host-index.ts';
import { mismatch } from './host-routes.ts';
import type { RequestView } from './request-view.ts';

/** A route that was looked at for a request; `why` is '' for the one that was chosen. */
export interface Considered {
  readonly route: string;
  readonly matched: boolean;
  readonly why: string;
}

/** Scope of the calls that start on this node; every other scope is the name of an edge gateway. */
export const EGRESS = '';

/**
 * All routes of a revision, ready for matching. Never changed: a new revision makes a new one, which takes over what
 * is the same, so that one changed route among 10,000 costs a walk over the list and not over their paths.
 *
 * Order (contract section 4): higher `priority` over all hosts that match, then the more specific host, then exact >
 * longest prefix > regex, then more conditions, then name.
 */
export class RouteTable {
  /** By name, disabled ones too. */
  readonly #compiled = new Map<string, CompiledRoute>();
  readonly #scopes = new Map<string, HostIndex>();

  constructor(documents: Iterable<RouteDocument>, previous: RouteTable | undefined) {
    const knownRoutes = previous === undefined ? undefined : previous.#compiled;
    const knownScopes = previous === undefined ? undefined : previous.#scopes;
    const scopes = new Map<string, Map<string, CompiledRoute[]>>();
    for (const document of documents) {
      const known = knownRoutes?.get(document.name);
      const route = known?.document === document ? known : compileRoute(document);
      this.#compiled.set(document.name, route);
      if (document.enabled) place(scopes, route);
    }
    for (const [scope, hosts] of scopes) {
      const index = new HostIndex(scope === EGRESS, hosts, knownScopes?.get(scope));
      this.#scopes.set(scope, index);
    }
  }

  /**
   * @param scope EGRESS, else the edge gateway's name
   * @param source calling service, or ''
   */
  match(scope: string, source: string, request: RequestView): CompiledRoute | undefined {
    return this.#scopes.get(scope)?.match(source, request);
  }

  /**
   * What `match` went through, for people: the routes of this host in order up to the chosen one, then those for
   * this host that are not in force here. Slow.
   */
  considered(scope: string, source: string, request: RequestView): readonly Considered[] {
    const chosen = this.match(scope, source, request);
    const seen: Considered[] = [];
    for (const route of this.#scopes.get(scope)?.ordered(request.host) ?? []) {
      const matched = route === chosen;
      const why = matched ? '' : mismatch(route, source, request);
      seen.push({ route: route.name, matched, why });
      if (matched) break;
    }
    return [...seen, ...this.#outOfForce(scope, request.host, chosen !== undefined)];
  }

  /** Disabled routes always; those of other scopes only when nothing else took the request. */
  #outOfForce(scope: string, host: string, isTaken: boolean): readonly Considered[] {
    const seen: Considered[] = [];
    for (const { document } of this.#compiled.values()) {
      if (!document.hosts.some((pattern) => covers(pattern, host))) continue;
      if (!document.enabled) {
        seen.push({ route: document.name, matched: false, why: 'it is disabled' });
      } else if (!isTaken && !scopesOf(document).includes(scope)) {
        seen.push({ route: document.name, matched: false, why: elsewhere(document) });
      }
    }
    return seen;
  }
}

/** @param previous the table this one follows: what is the same is taken over */
export function buildRouteTable(
  routes: Iterable<RouteDocument>,
  previous?: RouteTable,
): RouteTable {
  return new RouteTable(routes, previous);
}

function place(scopes: Map<string, Map<string, CompiledRoute[]>>, route: CompiledRoute): void {
  for (const scope of scopesOf(route.document)) {
    let hosts = scopes.get(scope);
    if (hosts === undefined) scopes.set(scope, (hosts = new Map<string, CompiledRoute[]>()));
    for (const host of route.document.hosts) {
      const pattern = patternIn(scope, host);
      const list = hosts.get(pattern);
      if (list === undefined) hosts.set(pattern, [route]);
      // One route may name a host twice: as `orders` and as `orders.mesh`.
      else if (list.at(-1) !== route) list.push(route);
    }
  }
}

function patternIn(scope: string, host: string): string {
  return scope === EGRESS && !host.startsWith('*') ? serviceNamed(host) : host;
}

function scopesOf(document: RouteDocument): readonly string[] {
  return document.gateways.length === 0 ? [EGRESS] : document.gateways;
}

function elsewhere(document: RouteDocument): string {
  return document.gateways.length === 0
    ? 'it is for calls between services, not for an edge gateway'
    : `it is for the edge gateway ${document.gateways.join(' or ')}`;
}

function covers(pattern: string, host: string): boolean {
  if (pattern === '*') return true;
  if (pattern.startsWith('*.')) return host.endsWith(pattern.slice(1));
  return serviceNamed(pattern) === serviceNamed(host);
}
