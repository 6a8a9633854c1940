import type { Rng } from '#kit/rng.ts';
import type { WorkerSettings } from '../ipc.ts';
import type { Sending } from './request/attempt.ts';
import type { Exchange } from './request/exchange.ts';
import type { Observer } from './request/observe.ts';
import type { ResponseSink, Upstream } from './request/ports.ts';
import type { Tables } from './tables.ts';
import type { MuxPools } from './upstream/mux-pools.ts';
import type { Roster } from './roster.ts';

/** The connections to one instance on this node, whatever it speaks. */
export interface LocalPool {
  /**
   * Sends one request; the answer goes to `sink`.
   *
   * @param head request line and fields as they go on, without framing fields
   */
  open(sink: ResponseSink, head: string, sending: Sending): Upstream;
  sweep(nowMs: number): void;
  /** The instance is gone: idle connections close now, busy ones after their answers. */
  close(): void;
}

/** What every part of one worker's data path shares; made once by `worker.ts`. */
export interface DataPlane {
  readonly settings: WorkerSettings;
  readonly tables: Tables;
  readonly muxPools: MuxPools;
  /** Connections to the instances on this node, to be swept. */
  readonly instancePools: Set<LocalPool>;
  /** Services whose calls are known by the Unix user of the calling process. */
  serviceByUid: ReadonlyMap<number, string>;
  readonly observer: Observer;
  readonly rng: Rng;
  /** Requests under way, so that a sweep can end those whose time is up: a timer per request is dearer than parsing it. */
  readonly exchanges: Roster<Exchange>;
  /** Monotonic ms. */
  now(): number;
  /** Monotonic ms as of the last sweep: good enough for idle times, and free. */
  coarseMs: number;
  /** True once the worker was told to stop: connections close after the answer under way. */
  isDraining: boolean;
}
