import type { RequestHead } from '../codec/request-head.ts';
import type { DataPlane } from '../data-plane.ts';
import type { ServiceTarget } from '../balance/service-target.ts';
import type { FailureName } from './failures.ts';
import type { Arrival } from './identify.ts';
import { pickDestination } from '../routing/split.ts';

/** What was decided for one request by its route and service; filled anew by `match` for each request of an exchange. */
export class Plan {
  target: ServiceTarget | undefined;
  subset: string | undefined;
  routeName = '';
  /** Further tries after the first. */
  retryAttempts = 0;
  /** Monotonic ms by which the answer's head must be there; Infinity: whenever it comes. */
  deadlineMs = Infinity;

  /**
   * Step "match": which service, by which route; its settings with the route's own on top.
   *
   * @param nowMs monotonic
   * @returns why the request cannot go anywhere; undefined when it can
   */
  match(
    { tables, rng }: DataPlane,
    arrival: Arrival,
    head: RequestHead,
    nowMs: number,
  ): FailureName | undefined {
    this.target = undefined;
    this.subset = undefined;
    this.routeName = '';
    if (head.method === 'CONNECT' || head.method === 'TRACE') return 'unsupported';
    if (arrival.service !== undefined) {
      const target = (this.target = tables.service(arrival.service));
      if (target === undefined) return 'noRoute';
      // The caller's gateway retries and keeps the time: two of them multiply a sick service's load, and cut a route's timeout.
      this.retryAttempts = arrival.direction === 'ingress' ? 0 : target.retryAttempts;
      this.deadlineMs = arrival.isFirstHop ? nowMs + target.timeoutFor(head.isGrpc) : Infinity;
      return undefined;
    }
    const resolution =
      arrival.port === undefined
        ? tables.resolve(arrival.scope, arrival.sourceService, head)
        : tables.resolveTcp(arrival.scope, arrival.port, head.host);
    if (resolution === undefined) return 'noRoute';
    const { route } = resolution;
    const destination = pickDestination(resolution, rng);
    this.routeName = route?.name ?? '';
    this.subset = destination.subset;
    this.target = tables.service(destination.service);
    if (this.target === undefined) return 'noEndpoint';
    this.retryAttempts = route?.retryAttempts ?? this.target.retryAttempts;
    this.deadlineMs = nowMs + (route?.timeoutMs ?? this.target.timeoutFor(head.isGrpc));
    return undefined;
  }
}
