import type { Destination, RouteDocument } from '../../../registry/documents/types.ts';
import { compileConditions, type Condition } from './conditions.ts';
import { compilePath, type PathRule } from './path-rule.ts';

export interface CompiledDestination {
  readonly service: string;
  readonly subset: string | undefined;
  readonly weight: number;
}

/** Destinations to choose one of, by weight. */
export interface Split {
  readonly destinations: readonly CompiledDestination[];
  /** Sum of the weights; above 0. */
  readonly totalWeight: number;
}

/** Where a request goes: by a route, or (`route` undefined) to the service whose name it asked for. */
export interface Resolution extends Split {
  readonly route: RouteOutcome | undefined;
}

/** What a route says beside its destinations. */
export interface RouteOutcome {
  readonly name: string;
  readonly timeoutMs: number | undefined;
  readonly retryAttempts: number | undefined;
}

export interface CompiledRoute extends Split, RouteOutcome {
  readonly document: RouteDocument;
  readonly path: PathRule;
  readonly conditions: readonly Condition[];
  /** Made once, so that resolving a request allocates nothing. */
  readonly resolution: Resolution;
}

export function splitOf(to: readonly Destination[]): Split {
  const destinations = to.map(({ service, subset, weight }) => ({ service, subset, weight }));
  return { destinations, totalWeight: to.reduce((sum, { weight }) => sum + weight, 0) };
}

export function compileRoute(document: RouteDocument): CompiledRoute {
  const { destinations, totalWeight } = splitOf(document.to);
  const resolution: { -readonly [K in keyof Resolution]: Resolution[K] } = {
    destinations,
    totalWeight,
    route: undefined,
  };
  const route: CompiledRoute = {
    name: document.name,
    destinations,
    totalWeight,
    timeoutMs: document.timeoutMs,
    retryAttempts: document.retry?.attempts,
    document,
    path: compilePath(document.path),
    conditions: compileConditions(document),
    resolution,
  };
  resolution.route = route;
  return route;
}

/** The service itself, for a host that no route answers for. */
export function implicitResolution(service: string): Resolution {
  const destinations = [{ service, subset: undefined, weight: 1 }];
  return { route: undefined, destinations, totalWeight: 1 };
}

const KIND_ORDER = { exact: 0, prefix: 1, regex: 2 } as const;

/**
 * Order of routes that share a host (contract section 4): higher priority, then exact > longest prefix > regex,
 * then more conditions, then name. Negative when `a` comes first.
 */
export function compareRoutes(a: CompiledRoute, b: CompiledRoute): number {
  return (
    b.document.priority - a.document.priority ||
    KIND_ORDER[a.path.kind] - KIND_ORDER[b.path.kind] ||
    prefixLength(b.path) - prefixLength(a.path) ||
    b.conditions.length - a.conditions.length ||
    (a.name < b.name ? -1 : 1)
  );
}

function prefixLength(path: PathRule): number {
  return path.kind === 'prefix' ? path.prefix.length : 0;
}
