import type { EndpointSet } from '../balance/endpoint-set.ts';
import type { Endpoint } from '../balance/endpoint.ts';
import type { DataPlane } from '../data-plane.ts';
import { pickEndpoint } from '../balance/p2c.ts';

/** Step "pick" at the caller's gateway. @param failed the endpoint that has just failed this request */
export function pickAny(
  { rng }: DataPlane,
  endpoints: EndpointSet,
  failed: Endpoint | undefined,
  nowMs: number,
): Endpoint | undefined {
  return pickEndpoint(endpoints, nowMs, rng, failed);
}

/** Step "pick" where the service runs. @param asked id of the instance that the caller's balancer has chosen */
export function pickLocal(
  { tables, rng }: DataPlane,
  service: string,
  asked: string,
  nowMs: number,
): Endpoint | undefined {
  const local = tables.local(service);
  if (local === undefined) return undefined;
  for (const endpoint of local.endpoints) if (endpoint.instance.id === asked) return endpoint;
  // Its choice is gone meanwhile: another one here will do.
  return pickEndpoint(local, nowMs, rng, undefined);
}
