import { AggregatorRegistry, collectDefaultMetrics, Registry } from 'prom-client';
import { messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type { WorkerMetrics } from '../ipc.ts';
import { SeriesCap, type Family, type Labels, type Sample } from './series.ts';
import type { AdminSource } from './source.ts';

/** Series per family; what is beyond it is counted under `other`. */
const MAX_SERIES = 2_000;

/** Gauges that prom-client names like counters: `promtool check metrics` refuses them. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

export const METRICS_CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

/** A family before its series are bounded. */
interface Draft {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly aggregator: 'sum' | 'min' | 'max';
  readonly rows: readonly { readonly labels: Labels; readonly value: number }[];
}

/**
 * `/metrics`. Nothing is counted here: the numbers lie in the workers' typed arrays and the supervisor's state, and are
 * read when somebody scrapes.
 */
export class Metrics {
  readonly #source: AdminSource;
  readonly #log: Log;
  readonly #process = new Registry();
  readonly #caps = new Map<string, SeriesCap>();

  constructor(source: AdminSource, log: Log) {
    this.#source = source;
    this.#log = log;
    collectDefaultMetrics({ register: this.#process });
    for (const name of MISNAMED) this.#process.removeSingleMetric(name);
  }

  /** Prometheus text format 0.0.4. While the workers do not answer, everything else is still there. */
  async render(): Promise<string> {
    const worker = await this.#source.workerMetrics().catch((error: unknown) => {
      this.#log.warn({ error: messageOf(error) }, 'metrics of the workers are missing');
      return undefined;
    });
    const families = [...ownFamilies(this.#source), ...(worker ? workerFamilies(worker) : [])].map(
      (draft): Family => {
        const { rows, ...family } = draft;
        return { ...family, values: this.#cap(draft.name).apply(rows) };
      },
    );
    if (worker) families.push(durations(worker, this.#cap(DURATION)));
    // `aggregate` is prom-client's door for numbers that were counted elsewhere.
    const text = await AggregatorRegistry.aggregate([families]).metrics();
    return `${text}\n${await this.#process.metrics()}`;
  }

  #cap(family: string): SeriesCap {
    const cap = this.#caps.get(family) ?? new SeriesCap(MAX_SERIES);
    this.#caps.set(family, cap);
    return cap;
  }
}

const DURATION = 'gatemesh_request_duration_seconds';

function gauge(name: string, help: string, rows: Draft['rows'], of: Draft['aggregator']): Draft {
  return { name, help, type: 'gauge', aggregator: of, rows };
}

function one(name: string, help: string, value: number, labels: Labels = {}): Draft {
  return gauge(name, help, [{ labels, value }], 'max');
}

function counter(name: string, help: string, rows: Draft['rows']): Draft {
  return { name, help, type: 'counter', aggregator: 'sum', rows };
}

/** What the supervisor knows by itself. */
function ownFamilies(source: AdminSource): Draft[] {
  const { version, registry, identities } = source.status();
  return [
    one('gatemesh_build_info', 'Version of gatemesh and of Node.js; always 1.', 1, {
      version,
      node_version: process.version,
    }),
    one(
      'gatemesh_registry_connected',
      'Whether the registry is connected.',
      Number(registry.connected),
    ),
    one(
      'gatemesh_config_revision',
      'Registry revision in force in every worker.',
      registry.applied,
    ),
    one(
      'gatemesh_config_stale_seconds',
      'Time since the registry last proved the configuration current; +Inf before the first time.',
      registry.staleSeconds ?? Number.POSITIVE_INFINITY,
    ),
    gauge(
      'gatemesh_config_rejected',
      'Documents of the registry that are not in force as they stand; always 1.',
      registry.rejected.map(({ key }) => ({ labels: { key }, value: 1 })),
      'max',
    ),
    gauge(
      'gatemesh_certificate_not_after_timestamp_seconds',
      'End of each certificate in use, Unix time.',
      source.certificates().map(({ kind, identity, notAfterMs }) => ({
        labels: { kind, identity },
        value: notAfterMs / 1_000,
      })),
      'min',
    ),
    gauge(
      'gatemesh_certificate_missing',
      'Identities that are wanted here and have no certificate; always 1.',
      identities.flatMap(({ identity, notAfter }) =>
        notAfter === null ? [{ labels: { identity }, value: 1 }] : [],
      ),
      'max',
    ),
    gauge(
      'gatemesh_endpoint_up',
      'Whether the instance passes its check.',
      source.endpointHealth().map(({ service, instance, up }) => ({
        labels: { service, instance },
        value: Number(up),
      })),
      'min',
    ),
  ];
}

/** What the workers counted. */
function workerFamilies(metrics: WorkerMetrics): Draft[] {
  return [
    counter(
      'gatemesh_requests_total',
      'Requests by outcome.',
      metrics.requests.map(({ source, destination, route, code, reason, direction, count }) => ({
        labels: { source, destination, route, code, reason, direction },
        value: count,
      })),
    ),
    counter(
      'gatemesh_request_bytes_total',
      'Bytes of request bodies.',
      metrics.durations.map((row) => ({ labels: pathOf(row), value: row.requestBytes })),
    ),
    counter(
      'gatemesh_response_bytes_total',
      'Bytes of response bodies.',
      metrics.durations.map((row) => ({ labels: pathOf(row), value: row.responseBytes })),
    ),
    counter(
      'gatemesh_retries_total',
      'Further tries after the first.',
      metrics.retries.map(({ destination, count }) => ({ labels: { destination }, value: count })),
    ),
    one('gatemesh_active_requests', 'Requests in flight.', metrics.activeRequests),
    gauge(
      'gatemesh_connections',
      'Open connections by the listener that accepted them.',
      metrics.connections.map(({ listener, open }) => ({ labels: { listener }, value: open })),
      'sum',
    ),
    gauge(
      'gatemesh_endpoint_ejected',
      'Whether a worker keeps the endpoint out because of what its answers said.',
      metrics.endpoints.map(({ service, instance, ejected }) => ({
        labels: { service, instance },
        value: Number(ejected),
      })),
      'max',
    ),
  ];
}

type Duration = WorkerMetrics['durations'][number];

function pathOf({ source, destination, route, direction }: Duration): Labels {
  return { source, destination, route, direction };
}

function durations(metrics: WorkerMetrics, cap: SeriesCap): Family {
  const rows = metrics.durations.map((row) => ({ labels: pathOf(row), row }));
  return {
    name: DURATION,
    help: 'Time from the head of the request to the end of the response.',
    type: 'histogram',
    aggregator: 'sum',
    values: cap.apply(rows).flatMap(({ labels, row }) => histogram(labels, row, metrics.bounds)),
  };
}

/** Prometheus wants buckets that include all smaller ones; the workers count each on its own. */
function histogram(labels: Labels, { buckets, sum }: Duration, bounds: readonly number[]) {
  let count = 0;
  const samples = buckets.map((inBucket, i): Sample => {
    count += inBucket;
    const le = i < bounds.length ? String(bounds[i]) : '+Inf';
    return { metricName: `${DURATION}_bucket`, labels: { ...labels, le }, value: count };
  });
  samples.push({ metricName: `${DURATION}_sum`, labels, value: sum });
  samples.push({ metricName: `${DURATION}_count`, labels, value: count });
  return samples;
}
