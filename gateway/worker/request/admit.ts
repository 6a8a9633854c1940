import type { ServiceLoad } from '../balance/service-target.ts';
import type { RequestHead } from '../codec/request-head.ts';
import type { FailureName } from './failures.ts';

/** Requests of one service that may be under way in one worker (Envoy's default for a cluster). */
const MAX_REQUESTS_PER_SERVICE = 1024;

/** More gateways than any honest chain of calls has, few enough that a loop costs nothing. */
const MAX_HOPS = 16;

/** Step "admit": why there is no room for this request; undefined when there is. */
export function admit(head: RequestHead, load: ServiceLoad): FailureName | undefined {
  if (head.hops >= MAX_HOPS) return 'loop';
  return load.requests >= MAX_REQUESTS_PER_SERVICE ? 'overflow' : undefined;
}
