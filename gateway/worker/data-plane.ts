import type { Rng } from '#kit/rng.ts';
import type { WorkerSettings } from '../ipc.ts';
import type { Exchange } from './request/exchange.ts';
import type { Observer } from './request/observe.ts';
import type { Tables } from './tables.ts';
import type { InstancePool } from './upstream/instance-pool.ts';
import type { MuxPools } from './upstream/mux-pools.ts';
import type { Roster } from './roster.ts';

/** What every part of one worker's data path shares; made once by `worker.ts`. */
export interface DataPlane {
  readonly settings: WorkerSettings;
  readonly tables: Tables;
  readonly muxPools: MuxPools;
  /** Connections to the instances on this node, to be swept. */
  readonly instancePools: Set<InstancePool>;
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
