import type { Log } from '#kit/log.ts';
import type { Rng } from '#kit/rng.ts';
import type {
  Explanation,
  ExplainRequest,
  FromWorker,
  ListenerSpec,
  ToWorker,
  WorkerQuestion,
  WorkerReply,
  WorkerSettings,
} from '../ipc.ts';
import type { DataPlane } from './data-plane.ts';
import type { Listener } from './listeners/plain.ts';
import { messageOf } from '#kit/errors.ts';
import { createLog } from '#kit/log.ts';
import { Identities } from './identities.ts';
import { MeshListener } from './listeners/mesh.ts';
import { PlainListener } from './listeners/plain.ts';
import { formatIdentity } from '../../ca/identity.ts';
import { egressIdentity } from './request/identify.ts';
import { TcpListener } from './listeners/tcp.ts';
import { Observer } from './request/observe.ts';
import { Roster } from './roster.ts';
import { Tables } from './tables.ts';
import { H2InstancePool } from './upstream/h2-pool.ts';
import { InstancePool } from './upstream/instance-pool.ts';
import { MuxPools } from './upstream/mux-pools.ts';

/** Deadlines, dead peers and idle connections are looked for this often. */
const SWEEP_MS = 250;
/** A sign of life for the supervisor, and how late the loop runs. */
const ALIVE_MS = 1_000;

export interface WorkerPorts {
  readonly log: Log;
  readonly rng: Rng;
  /** Monotonic ms. */
  now(): number;
  send(message: FromWorker): void;
  exit(): void;
}

/**
 * One data-plane process: takes settings, identities, tables and bound sockets from the supervisor,
 * carries traffic, and answers questions. It decides nothing that outlives it.
 */
export class Worker {
  readonly #ports: WorkerPorts;
  readonly #listeners = new Map<string, Listener>();
  /** Let go, but with clients whose time limits still hold. */
  readonly #leaving = new Set<Listener>();
  /** Mesh sockets that came before the first certificate. */
  readonly #waiting = new Map<string, unknown>();
  #plane: DataPlane | undefined;
  #identities: Identities | undefined;
  #drainBy = 0;
  #lastSweep = 0;

  constructor(ports: WorkerPorts) {
    this.#ports = ports;
  }

  /** @param handle the bound socket that came with `listen` */
  handle(message: ToWorker, handle?: unknown): void {
    switch (message.type) {
      case 'settings':
        this.#start(message.settings);
        break;
      case 'identity':
        this.#setIdentities(new Identities(message.material, this.#identities));
        break;
      case 'callers':
        this.#live().serviceByUid = message.serviceByUid;
        break;
      case 'tables':
        this.#live().tables.apply(message.change);
        this.#ports.send({ type: 'applied', revision: message.change.revision });
        break;
      case 'listen':
        this.#listen(message.listener, handle);
        break;
      case 'unlisten':
        this.#unlisten(message.id);
        break;
      case 'ask':
        this.#ports.send({ type: 'reply', id: message.id, reply: this.#answer(message.question) });
        break;
      case 'drain':
        this.#drain(message.graceMs);
        break;
    }
  }

  #live(): DataPlane {
    if (this.#plane === undefined) throw new Error('the supervisor sent no settings yet');
    return this.#plane;
  }

  #start(settings: WorkerSettings): void {
    const { log, rng, now } = this.#ports;
    const tables = new Tables({ trustDomain: settings.trustDomain, localNode: settings.node, rng });
    tables.onEndpointRemoved((endpoint) => {
      const { upstream } = endpoint;
      if (upstream instanceof InstancePool || upstream instanceof H2InstancePool) upstream.close();
    });
    const muxPools = new MuxPools(rng, {
      peerRefused: (peer, service, why) => log.warn({ peer, service, why }, 'no mesh connection'),
    });
    const access = settings.accessLog ? createLog({ level: 'info', isBuffered: true }) : undefined;
    this.#plane = {
      settings,
      tables,
      muxPools,
      observer: new Observer(log, access),
      rng,
      exchanges: new Roster(),
      instancePools: new Set(),
      serviceByUid: new Map(),
      now,
      coarseMs: now(),
      isDraining: false,
    };
    setInterval(() => this.#sweep(), SWEEP_MS);
    setInterval(() => this.#sayAlive(), ALIVE_MS);
    this.#ports.send({ type: 'ready' });
  }

  #setIdentities(identities: Identities): void {
    this.#identities = identities;
    this.#live().muxPools.setIdentities(identities);
    for (const listener of this.#listeners.values()) {
      if (listener instanceof MeshListener) listener.setIdentities(identities);
    }
    for (const [id, handle] of this.#waiting) this.#listen({ id, kind: 'mesh' }, handle);
    this.#waiting.clear();
  }

  #listen(spec: ListenerSpec, handle: unknown): void {
    const plane = this.#live();
    const listening = (): void => this.#ports.send({ type: 'listening', id: spec.id });
    const failed = (error: Error): void => {
      this.#ports.send({ type: 'listen-failed', id: spec.id, error: error.message });
    };
    try {
      if (spec.kind === 'edge-tcp') {
        this.#listeners.set(spec.id, new TcpListener(plane, spec, handle, listening, failed));
      } else if (spec.kind !== 'mesh') {
        this.#listeners.set(spec.id, new PlainListener(plane, spec, handle, listening, failed));
      } else if (this.#identities === undefined) this.#waiting.set(spec.id, handle);
      else {
        const refused = (address: string, why: string): void => {
          this.#ports.log.warn({ peer: address, why }, 'refused on the mesh port');
        };
        this.#listeners.set(
          spec.id,
          new MeshListener(plane, spec.id, this.#identities, handle, listening, failed, refused),
        );
      }
    } catch (error) {
      // A certificate file that is none, for one: said, and the other listeners go on.
      failed(error instanceof Error ? error : new Error(messageOf(error)));
    }
  }

  #unlisten(id: string): void {
    const listener = this.#listeners.get(id);
    if (listener === undefined) return;
    this.#listeners.delete(id);
    this.#leaving.add(listener);
    listener.drain();
  }

  #answer(question: WorkerQuestion): WorkerReply {
    try {
      switch (question.kind) {
        case 'metrics':
          return { kind: 'metrics', metrics: this.#metrics() };
        case 'explain':
          return { kind: 'explain', explanation: this.#explain(question.request) };
        case 'state':
          return { kind: 'state', state: this.#state() };
      }
    } catch (error) {
      return { kind: 'error', message: messageOf(error) };
    }
  }

  #explain(request: ExplainRequest): Explanation {
    const { settings, tables } = this.#live();
    const explanation = tables.explain(request, this.#ports.now());
    const { trustDomain, nodeIdentity } = settings;
    const { from, gateway } = request;
    const source =
      gateway === undefined
        ? egressIdentity(from, trustDomain, nodeIdentity)
        : formatIdentity({ trustDomain, kind: 'edge', name: gateway });
    if (this.#identities?.get(source) !== undefined) return explanation;
    return { ...explanation, outcome: `502 UF: this gateway has no certificate for ${source}` };
  }

  #metrics(): Extract<WorkerReply, { kind: 'metrics' }>['metrics'] {
    const { observer, exchanges, tables } = this.#live();
    return {
      ...observer.metrics(),
      activeRequests: exchanges.size,
      connections: [...this.#listeners.values()].map(({ id, open }) => ({ listener: id, open })),
      endpoints: Array.from(tables.endpoints(), ({ service, instance, standing }) => ({
        service,
        instance: instance.id,
        ejected: !standing.isIn,
      })),
    };
  }

  #state(): Extract<WorkerReply, { kind: 'state' }>['state'] {
    const { tables, muxPools } = this.#live();
    const called = [...this.#listeners.values()].flatMap((listener) =>
      listener instanceof MeshListener ? listener.state() : [],
    );
    const iso = (ms: number): string => new Date(ms).toISOString();
    const row = (side: 'caller' | 'callee') => (state: (typeof called)[number]) => ({
      side,
      source: state.source,
      destination: state.destination,
      peer: state.peer,
      openedAt: iso(state.openedAtMs),
      notAfter: iso(state.notAfterMs),
      streams: state.streams,
    });
    return {
      pid: process.pid,
      revision: tables.revision,
      openConnections: [...this.#listeners.values()].reduce((sum, { open }) => sum + open, 0),
      meshConnections: [...muxPools.state().map(row('caller')), ...called.map(row('callee'))],
    };
  }

  #sweep(): void {
    const plane = this.#live();
    const now = this.#ports.now();
    const wall = Date.now();
    this.#lastSweep = now;
    plane.coarseMs = now;
    plane.exchanges.sweep((exchange) => exchange.expire(now));
    plane.muxPools.sweep(now, wall);
    for (const pool of plane.instancePools) pool.sweep(now);
    for (const listener of this.#listeners.values()) listener.sweep(now, wall);
    for (const listener of this.#leaving) {
      listener.sweep(now, wall);
      if (listener.open === 0) this.#leaving.delete(listener);
    }
    if (this.#drainBy > 0 && (plane.exchanges.size === 0 || now > this.#drainBy))
      this.#ports.exit();
  }

  #sayAlive(): void {
    const late = Math.max(0, this.#ports.now() - this.#lastSweep - SWEEP_MS);
    this.#ports.send({ type: 'alive', eventLoopDelayMs: Math.round(late) });
  }

  #drain(graceMs: number): void {
    const plane = this.#live();
    plane.isDraining = true;
    this.#drainBy = this.#ports.now() + graceMs;
    for (const listener of this.#listeners.values()) listener.drain();
    plane.muxPools.leave();
  }
}
