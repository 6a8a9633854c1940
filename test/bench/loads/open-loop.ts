import { quantile } from '../../support/statistics.ts';

/** Times in ms of one clock that only goes forward. */
export interface OpenLoopOptions {
  readonly startMs: number;
  readonly perSecond: number;
  /** How many of the first requests are left out of the report. */
  readonly warmUp: number;
  /** How many requests are reported. */
  readonly count: number;
  /** Each carries one request at a time. */
  readonly connections: number;
}

/** Latencies are from the time a request was due to the end of its answer, in µs. */
export interface OpenLoopReport {
  readonly requests: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** How late the generator itself was: from due (or, where it had to wait for a connection, from then) to sent. */
  readonly lateP50: number;
  readonly lateP99: number;
  /** Requests that were due while every connection had one under way. */
  readonly waited: number;
}

export interface Begun {
  readonly request: number;
  readonly connection: number;
}

/**
 * Requests at a fixed rate that no answer moves: request n is due n/rate after the start, and its latency counts from
 * then. While a proxy stands still, the requests that fall due meanwhile are late and say so; a generator that waits
 * for answers would have sent none of them ("coordinated omission").
 */
export class OpenLoop {
  readonly #options: OpenLoopOptions;
  readonly #total: number;
  /** Longest free first: all connections take their turn, as the clients of a service do. */
  readonly #free: Begun['connection'][];
  readonly #freeSinceMs: Float64Array;
  readonly #carries: Int32Array;
  readonly #latencyMs: Float64Array;
  readonly #lateMs: Float64Array;
  #begun = 0;
  #answered = 0;
  #waited = 0;

  constructor(options: OpenLoopOptions) {
    this.#options = options;
    this.#total = options.warmUp + options.count;
    this.#free = Array.from({ length: options.connections }, (_, connection) => connection);
    this.#freeSinceMs = new Float64Array(options.connections).fill(options.startMs);
    this.#carries = new Int32Array(options.connections).fill(-1);
    this.#latencyMs = new Float64Array(this.#total);
    this.#lateMs = new Float64Array(this.#total);
  }

  get isOver(): boolean {
    return this.#answered === this.#total;
  }

  /** The next request that is due by now and has a connection; undefined when there is none. Sent at once by the caller. */
  begin(nowMs: number): Begun | undefined {
    const request = this.#begun;
    if (request === this.#total || this.#dueMs(request) > nowMs) return undefined;
    const connection = this.#free.shift();
    if (connection === undefined) return undefined;
    this.#begun++;
    this.#carries[connection] = request;
    const freeSince = this.#freeSinceMs[connection]!;
    const couldGoMs = Math.max(this.#dueMs(request), freeSince);
    if (freeSince > this.#dueMs(request) && request >= this.#options.warmUp) this.#waited++;
    this.#lateMs[request] = nowMs - couldGoMs;
    return { request, connection };
  }

  /** The answer to what the connection carried is complete. */
  answered(connection: number, nowMs: number): void {
    const request = this.#carries[connection]!;
    if (request < 0) throw new Error(`connection ${connection} was answered without a request`);
    this.#latencyMs[request] = nowMs - this.#dueMs(request);
    this.#carries[connection] = -1;
    this.#freeSinceMs[connection] = nowMs;
    this.#free.push(connection);
    this.#answered++;
  }

  /** Once it is over. */
  report(): OpenLoopReport {
    const counted = (values: Float64Array): readonly number[] => [
      ...values.subarray(this.#options.warmUp),
    ];
    const us = (values: readonly number[], ratio: number): number => quantile(values, ratio) * 1e3;
    const [latency, late] = [counted(this.#latencyMs), counted(this.#lateMs)];
    return {
      requests: this.#options.count,
      p50: us(latency, 0.5),
      p99: us(latency, 0.99),
      max: us(latency, 1),
      lateP50: us(late, 0.5),
      lateP99: us(late, 0.99),
      waited: this.#waited,
    };
  }

  #dueMs(request: number): number {
    return this.#options.startMs + (request * 1e3) / this.#options.perSecond;
  }
}
