import type { Log } from '#kit/log.ts';
import type { WorkerMetrics } from '../../ipc.ts';
import type { RequestHead } from '../codec/request-head.ts';
import type { Arrival } from './identify.ts';

/** Upper bounds in seconds; OpenTelemetry's for HTTP durations, and three finer ones for calls inside a site. */
const BOUNDS_SECONDS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
] as const;

/** Label sets per worker; past it new ones are counted as `other`, so that no client can fill the memory. */
const MAX_SERIES = 4_000;

/** All that is known of one request when it ends. Only valid during the call. */
export interface Observation {
  readonly arrival: Arrival;
  readonly head: RequestHead;
  readonly clientAddress: string;
  readonly destination: string;
  readonly route: string;
  readonly instance: string;
  /** 0 when it was no HTTP. */
  readonly status: number;
  readonly reason: string;
  readonly durationMs: number;
  readonly upstreamMs: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly attempts: number;
  readonly requestId: string;
  readonly traceparent: string;
}

/** Counters of one (direction, source, destination, route); plain numbers, read only when scraped. */
class Series {
  readonly direction: Arrival['direction'];
  readonly source: string;
  readonly destination: string;
  readonly route: string;
  /** By status where the service answered. */
  readonly statuses = new Float64Array(1000);
  /** `status reason` where a gateway did. */
  readonly reasons = new Map<string, number>();
  readonly buckets = new Float64Array(BOUNDS_SECONDS.length + 1);
  sum = 0;
  requestBytes = 0;
  responseBytes = 0;

  constructor(direction: Arrival['direction'], source: string, destination: string, route: string) {
    this.direction = direction;
    this.source = source;
    this.destination = destination;
    this.route = route;
  }
}

interface Counted {
  readonly direction: Arrival['direction'];
  readonly source: string;
  readonly destination: string;
  readonly route: string;
  readonly series: Series;
}

/** Step "observe": counts each request once and writes its access line. */
export class Observer {
  readonly #access: Log | undefined;
  readonly #log: Log;
  readonly #series = new Map<string, Series>();
  readonly #retries = new Map<string, number>();
  /** By route, or by destination where there is none: what the last request was counted in. */
  readonly #last = new Map<string, Counted>();

  /** @param access where access lines go; undefined: nowhere */
  constructor(log: Log, access: Log | undefined) {
    this.#log = log;
    this.#access = access;
  }

  observe(seen: Observation): void {
    const series = this.#seriesOf(seen.arrival, seen.destination, seen.route);
    if (seen.reason === '') series.statuses[seen.status]!++;
    else {
      const key = `${codeOf(seen.status)} ${seen.reason}`;
      series.reasons.set(key, (series.reasons.get(key) ?? 0) + 1);
    }
    const seconds = seen.durationMs / 1000;
    let bucket = 0;
    while (bucket < BOUNDS_SECONDS.length && seconds > BOUNDS_SECONDS[bucket]!) bucket++;
    series.buckets[bucket]!++;
    series.sum += seconds;
    series.requestBytes += seen.requestBytes;
    series.responseBytes += seen.responseBytes;
    if (this.#access !== undefined) this.#write(this.#access, seen);
  }

  /** Something that was no valid request, or came over TLS that failed. */
  refused(arrival: Arrival, status: number, why: string, clientAddress: string): void {
    const series = this.#seriesOf(arrival, '', '');
    const key = `${codeOf(status)} BAD`;
    series.reasons.set(key, (series.reasons.get(key) ?? 0) + 1);
    this.#access?.info(
      {
        direction: arrival.direction,
        client: clientAddress,
        status: status || undefined,
        reason: 'BAD',
        why,
      },
      'refused',
    );
  }

  /** A denial is an event of its own: who, what, which rule. */
  denied(
    arrival: Arrival,
    destination: string,
    decision: {
      readonly allowed: boolean;
      readonly why: string;
      readonly intention?: string | undefined;
    },
    requestId: string,
  ): void {
    this.#log.warn(
      {
        source: arrival.sourceIdentity,
        destination,
        intention: decision.intention,
        why: decision.why,
        requestId,
      },
      decision.allowed ? 'would be denied (audit)' : 'denied',
    );
  }

  retried(destination: string): void {
    this.#retries.set(destination, (this.#retries.get(destination) ?? 0) + 1);
  }

  /** The counters, for the supervisor; cumulative. */
  metrics(): Pick<WorkerMetrics, 'requests' | 'bounds' | 'durations' | 'retries'> {
    const all = [...this.#series.values()];
    return {
      requests: all.flatMap(requestCounts),
      bounds: BOUNDS_SECONDS,
      durations: all.map((series) => ({
        direction: series.direction,
        source: series.source,
        destination: series.destination,
        route: series.route,
        buckets: [...series.buckets],
        sum: series.sum,
        requestBytes: series.requestBytes,
        responseBytes: series.responseBytes,
      })),
      retries: [...this.#retries].map(([destination, count]) => ({ destination, count })),
    };
  }

  #seriesOf(arrival: Arrival, destination: string, route: string): Series {
    // Most requests of a route are like the one before; building and hashing a key for each is dearer than counting it.
    const name = route === '' ? destination : route;
    const last = this.#last.get(name);
    if (
      last !== undefined &&
      last.route === route &&
      last.destination === destination &&
      last.direction === arrival.direction &&
      last.source === arrival.sourceLabel
    ) {
      return last.series;
    }
    const series = this.#findSeries(arrival, destination, route);
    const { direction, sourceLabel: source } = arrival;
    // Names are of documents: there are not more of them than the registry has.
    this.#last.set(name, { direction, source, destination, route, series });
    return series;
  }

  #findSeries(arrival: Arrival, destination: string, route: string): Series {
    const key = `${arrival.direction}\n${arrival.sourceLabel}\n${destination}\n${route}`;
    let series = this.#series.get(key);
    if (series !== undefined) return series;
    if (this.#series.size >= MAX_SERIES) {
      const other = `${arrival.direction}\nother`;
      series = this.#series.get(other) ?? new Series(arrival.direction, 'other', 'other', 'other');
      this.#series.set(other, series);
      return series;
    }
    series = new Series(arrival.direction, arrival.sourceLabel, destination, route);
    this.#series.set(key, series);
    return series;
  }

  #write(access: Log, seen: Observation): void {
    access.info(
      {
        direction: seen.arrival.direction,
        source: seen.arrival.sourceLabel,
        destination: seen.destination,
        route: seen.route,
        instance: seen.instance,
        client: seen.clientAddress,
        method: seen.head.method,
        host: seen.head.authority,
        path: seen.head.path,
        status: seen.status || undefined,
        reason: seen.reason,
        duration: Math.round(seen.durationMs * 1000) / 1000,
        upstream: Math.round(seen.upstreamMs * 1000) / 1000,
        requestBytes: seen.requestBytes,
        responseBytes: seen.responseBytes,
        attempts: seen.attempts,
        requestId: seen.requestId,
        traceId: seen.traceparent.slice(3, 35),
      },
      'request',
    );
  }
}

/** The label: a TCP connection has none. */
function codeOf(status: number): string {
  return status === 0 ? '' : String(status);
}

function requestCounts(series: Series): WorkerMetrics['requests'][number][] {
  const { direction, source, destination, route } = series;
  const labels = { direction, source, destination, route };
  const counts: WorkerMetrics['requests'][number][] = [];
  series.statuses.forEach((count, status) => {
    if (count > 0) counts.push({ ...labels, code: codeOf(status), reason: '', count });
  });
  for (const [key, count] of series.reasons) {
    const [code = '', reason = ''] = key.split(' ');
    counts.push({ ...labels, code, reason, count });
  }
  return counts;
}
