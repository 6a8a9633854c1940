import type { Endpoint } from './endpoint.ts';

/**
 * The endpoints one pick chooses from: those of a service (or subset) that the registry says take traffic, with their
 * weights laid out for drawing. Never changed; what changes from one moment to the next (load, ejection) is asked of the endpoint.
 */
export class EndpointSet {
  readonly endpoints: readonly Endpoint[];
  /** Weight of each, relative to their mean: 1 for all when they are alike. */
  readonly shares: Float64Array;
  /** Exclusive end of each one's slice of [0, total). */
  readonly #ends: Float64Array;
  readonly total: number;
  readonly largest: number;

  /**
   * @param members all that are registered; a weight of 0 gets nothing, also when the others are down
   * @param takes which of them get requests
   */
  constructor(members: readonly Endpoint[], takes: (endpoint: Endpoint) => boolean) {
    this.endpoints = members.filter((endpoint) => endpoint.weight > 0 && takes(endpoint));
    this.#ends = new Float64Array(this.endpoints.length);
    let total = 0;
    let largest = 0;
    for (const [i, endpoint] of this.endpoints.entries()) {
      total += endpoint.weight;
      largest = Math.max(largest, endpoint.weight);
      this.#ends[i] = total;
    }
    this.total = total;
    this.largest = largest;
    const mean = total / this.endpoints.length;
    this.shares = Float64Array.from(this.endpoints, ({ weight }) => weight / mean);
  }

  /** Index of the endpoint in whose slice the point of [0, total) lies. */
  at(point: number): number {
    const ends = this.#ends;
    let low = 0;
    let high = ends.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (point < ends[middle]!) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
