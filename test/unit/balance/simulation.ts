import type { Rng } from '#kit/rng.ts';
import type { InstanceDocument } from '../../../registry/documents/types.ts';
import { Endpoint } from '../../../gateway/worker/balance/endpoint.ts';
import type { EjectionGroup, Outcome } from '../../../gateway/worker/balance/standing.ts';

export function ejectionGroup(size: number, settings = {}): EjectionGroup {
  return {
    settings: { consecutive: 5, baseMs: 10_000, maxMs: 300_000, maxEjected: 50, ...settings },
    size,
    ejected: 0,
    rng: () => 0,
  };
}

export function instance(id: string, change: Partial<InstanceDocument> = {}): InstanceDocument {
  return {
    node: `vm-${id}`,
    service: 'orders',
    id,
    address: '10.0.0.1:15443',
    app: '127.0.0.1:8080',
    protocol: 'http',
    weight: 100,
    zone: 'dc1-a',
    meta: {},
    state: 'ready',
    health: 'passing',
    since: '2026-09-30T10:00:00Z',
    ...change,
  };
}

/** One per weight, named a, b, c, …, all of one service and passing. */
export function endpoints(weights: readonly number[], group = ejectionGroup(weights.length)) {
  return weights.map((weight, i) => {
    const id = String.fromCharCode(97 + i);
    return new Endpoint(id, instance(id, { weight }), undefined, group);
  });
}

/** How an instance answers. */
export interface Service {
  latencyMs(rng: Rng): number;
  readonly outcome?: Outcome;
}

export interface Result {
  /** Requests by endpoint. */
  readonly counts: readonly number[];
  readonly latencies: readonly number[];
}

/**
 * Runs requests in simulated time: those under way end in order of their latency.
 *
 * @param arrive ms until the next request comes; 'closed' keeps `concurrency` requests under way
 */
export function simulate(options: {
  readonly endpoints: readonly Endpoint[];
  readonly services: readonly Service[];
  readonly pick: (nowMs: number) => Endpoint;
  readonly requests: number;
  readonly concurrency: number;
  readonly rng: Rng;
  /** When given, requests arrive at random at this rate, and `concurrency` is not used. */
  readonly perSecond?: number;
}): Result {
  const { rng } = options;
  const counts = options.endpoints.map(() => 0);
  const latencies: number[] = [];
  const underWay: { atMs: number; latencyMs: number; index: number }[] = [];
  let nowMs = 1_000;

  const endNext = () => {
    let next = 0;
    for (let i = 1; i < underWay.length; i++)
      if (underWay[i]!.atMs < underWay[next]!.atMs) next = i;
    const [ended] = underWay.splice(next, 1);
    nowMs = ended!.atMs;
    const outcome = options.services[ended!.index]!.outcome ?? 'ok';
    options.endpoints[ended!.index]!.finished(nowMs, ended!.latencyMs, outcome);
    latencies.push(ended!.latencyMs);
  };
  const start = () => {
    const index = options.endpoints.indexOf(options.pick(nowMs));
    counts[index]!++;
    options.endpoints[index]!.started(nowMs);
    const latencyMs = options.services[index]!.latencyMs(rng);
    underWay.push({ atMs: nowMs + latencyMs, latencyMs, index });
  };

  for (let sent = 0; sent < options.requests; sent++) {
    if (options.perSecond === undefined) {
      while (underWay.length >= options.concurrency) endNext();
    } else {
      const arrivesAtMs = nowMs - (1_000 / options.perSecond) * Math.log(1 - rng());
      while (underWay.some(({ atMs }) => atMs <= arrivesAtMs)) endNext();
      nowMs = arrivesAtMs;
    }
    start();
  }
  while (underWay.length > 0) endNext();
  return { counts, latencies };
}

export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))]!;
}
