import type { WorkerMetrics } from '../ipc.ts';

/** What a worker that has not counted anything yet would say. */
export const NO_METRICS: WorkerMetrics = {
  requests: [],
  bounds: [],
  durations: [],
  activeRequests: 0,
  connections: [],
  retries: [],
  endpoints: [],
};

/**
 * What is left of a dead worker's figures: its counters, since a counter never goes back; not what it
 * held at that moment (open connections, active requests, its view of endpoints).
 */
export function countersOf(metrics: WorkerMetrics): WorkerMetrics {
  return { ...metrics, activeRequests: 0, connections: [], endpoints: [] };
}

/** Adds up workers, label set by label set. An endpoint is ejected when any worker ejected it. */
export function sumMetrics(parts: readonly WorkerMetrics[]): WorkerMetrics {
  return {
    bounds: parts.find(({ bounds }) => bounds.length > 0)?.bounds ?? [],
    activeRequests: parts.reduce((sum, part) => sum + part.activeRequests, 0),
    requests: merge(
      parts.flatMap(({ requests }) => requests),
      (r) => [r.direction, r.source, r.destination, r.route, r.code, r.reason],
      (a, b) => ({ ...a, count: a.count + b.count }),
    ),
    durations: merge(
      parts.flatMap(({ durations }) => durations),
      (d) => [d.direction, d.source, d.destination, d.route],
      (a, b) => ({
        ...a,
        buckets: a.buckets.map((count, i) => count + (b.buckets[i] ?? 0)),
        sum: a.sum + b.sum,
        requestBytes: a.requestBytes + b.requestBytes,
        responseBytes: a.responseBytes + b.responseBytes,
      }),
    ),
    connections: merge(
      parts.flatMap(({ connections }) => connections),
      ({ listener }) => [listener],
      (a, b) => ({ ...a, open: a.open + b.open }),
    ),
    retries: merge(
      parts.flatMap(({ retries }) => retries),
      ({ destination }) => [destination],
      (a, b) => ({ ...a, count: a.count + b.count }),
    ),
    endpoints: merge(
      parts.flatMap(({ endpoints }) => endpoints),
      ({ service, instance }) => [service, instance],
      (a, b) => ({ ...a, ejected: a.ejected || b.ejected }),
    ),
  };
}

function merge<T>(
  rows: readonly T[],
  labels: (row: T) => readonly string[],
  add: (a: T, b: T) => T,
): T[] {
  const byLabels = new Map<string, T>();
  for (const row of rows) {
    const key = JSON.stringify(labels(row));
    const known = byLabels.get(key);
    byLabels.set(key, known === undefined ? row : add(known, row));
  }
  return [...byLabels.values()];
}
