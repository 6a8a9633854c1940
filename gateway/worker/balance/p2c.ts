import type { Rng } from '#kit/rng.ts';
import type { EndpointSet } from './endpoint-set.ts';
import type { Endpoint } from './endpoint.ts';
import { latencyRatio } from './ewma.ts';

/** Draws before a walk over all of them: enough while most endpoints are in. */
const DRAWS = 4;

/**
 * Power of two choices (Mitzenmacher 2001) over peak-EWMA latency and load: two endpoints are drawn, and the better one is taken.
 *
 * Weights act once, in the draw. Both points are uniform over the weights, so each endpoint is drawn first, and second, in
 * exactly its share; the second lies at least the largest weight away from the first, so that the two differ unless one
 * endpoint has more than half of the weight. Hence shares follow the weights while all are alike, and none gets more
 * than twice its share by being fast. In the comparison load counts per weight, which is neutral: an endpoint of twice the weight is as
 * loaded with twice the requests. Dividing the whole cost by the weight as well would starve small ones while the mesh is idle.
 *
 * Endpoints that are out (ejected, unreachable) are drawn again; one whose time is over gets a request when it is drawn first.
 * When all are out, all are used: some answers are better than none.
 *
 * Allocates nothing. The caller calls `started` on the endpoint at once.
 *
 * @param avoid the endpoint that has just failed this request: taken only when there is no other that is in
 */
export function pickEndpoint(
  set: EndpointSet,
  nowMs: number,
  rng: Rng,
  avoid: Endpoint | undefined,
): Endpoint | undefined {
  const { endpoints, total } = set;
  if (endpoints.length < 2) return endpoints[0];

  for (let draw = 0; draw < DRAWS; draw++) {
    const point = rng() * total;
    const index = set.at(point);
    const endpoint = endpoints[index]!;
    if (endpoint === avoid) continue;
    if (endpoint.standing.isIn) return betterOf(set, point, index, rng, avoid);
    // A retry is no probe: it has already met one that failed.
    if (avoid === undefined && endpoint.standing.isProbeDue(nowMs)) return endpoint;
  }
  const isAvoidIn = avoid !== undefined && avoid.standing.isIn && endpoints.includes(avoid);
  return anyOf(set, rng, avoid, true) ?? (isAvoidIn ? avoid : anyOf(set, rng, avoid, false));
}

function betterOf(
  set: EndpointSet,
  point: number,
  index: number,
  rng: Rng,
  avoid: Endpoint | undefined,
): Endpoint {
  const { endpoints, shares, total } = set;
  const drawn = endpoints[index]!;
  const apart = Math.min(set.largest, total / 2);
  for (let draw = 0; draw < DRAWS; draw++) {
    const around = point + apart + rng() * (total - 2 * apart);
    const otherIndex = set.at(around < total ? around : around - total);
    if (otherIndex === index) return drawn;
    const other = endpoints[otherIndex]!;
    if (other === avoid || !other.standing.isIn) continue;
    return isBetter(other, shares[otherIndex]!, drawn, shares[index]!) ? other : drawn;
  }
  return drawn;
}

/**
 * Whether `other` is the better place by more than half a request: with equal weights and latencies when it has fewer in flight, at
 * rest when it is half as fast again. Half, because a whole one keeps small endpoints from ever taking overflow,
 * and none lets the noise between equals undo the weights (simulated at 1 to 128 requests in flight).
 */
function isBetter(
  other: Endpoint,
  otherShare: number,
  drawn: Endpoint,
  drawnShare: number,
): boolean {
  const slower = latencyRatio(
    drawn.latencyMs,
    drawn.sampledAtMs,
    other.latencyMs,
    other.sampledAtMs,
  );
  return 1 + (other.inFlight + 0.5) / otherShare < slower * (1 + drawn.inFlight / drawnShare);
}

/** One by weight, of those that are in or of all, without `avoid`. */
function anyOf(
  set: EndpointSet,
  rng: Rng,
  avoid: Endpoint | undefined,
  onlyIn: boolean,
): Endpoint | undefined {
  const { endpoints, shares } = set;
  let sum = 0;
  let chosen: Endpoint | undefined;
  for (let i = 0; i < endpoints.length; i++) {
    const endpoint = endpoints[i]!;
    if (endpoint === avoid || (onlyIn && !endpoint.standing.isIn)) continue;
    // Reservoir of one: each replaces the one before it with its part of the weight so far.
    sum += shares[i]!;
    if (rng() * sum < shares[i]!) chosen = endpoint;
  }
  return chosen;
}
