import { fullJitter } from '#kit/backoff.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import { MeshError } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type { Rng } from '#kit/rng.ts';
import type { IdentityMaterial } from '../../ca/identity.ts';
import type { RegistryChange } from '../../registry/view-types.ts';
import type {
  ExplainRequest,
  Explanation,
  ListenerSpec,
  WorkerMetrics,
  WorkerQuestion,
  WorkerReply,
  WorkerSettings,
  WorkerState,
} from '../ipc.ts';
import type { ListenSocket } from './listen-sockets.ts';
import { countersOf, NO_METRICS, sumMetrics } from './metrics-sum.ts';
import { WorkerProcess, type WorkerEvent } from './worker-process.ts';

/** A worker that says nothing for this long does not turn its loop: it is killed and replaced. */
const SILENCE_MS = 10_000;
/** One that lived shorter than this died young: the next one waits. */
const YOUNG_MS = 10_000;
const BACKOFF_BASE_MS = 100;
const BACKOFF_MAX_MS = 5_000;
const WATCH_MS = 1_000;
/** How often counters are fetched unasked, so that a worker's death loses at most this much of them. */
const COUNTERS_EVERY = 5;
/** After its grace a draining worker gets this long to exit by itself. */
const EXIT_MS = 1_000;

export interface WorkersOptions {
  readonly count: number;
  /** The program of a worker; it speaks `gateway/ipc.ts`. */
  readonly workerFile: string;
  /** The whole effective tables, for a worker that starts now. */
  readonly tables: () => RegistryChange;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
  /** The revision in force in every worker changed. */
  readonly onApplied: () => void;
}

export interface WorkerSummary {
  readonly pid: number;
  readonly state: 'starting' | 'running' | 'draining' | 'down';
}

interface Slot {
  process: WorkerProcess | undefined;
  state: WorkerSummary['state'];
  /** Revision in force; undefined until it said so. */
  applied: number | undefined;
  /** Listener id to undefined while it listens, or to why it does not. */
  listening: Map<string, string | undefined>;
  lastMetrics: WorkerMetrics;
  youngDeaths: number;
  cancelRestart: Cancel;
}

interface Listener {
  readonly spec: ListenerSpec;
  readonly socket: ListenSocket;
}

/**
 * The data-plane processes. Keeps the newest of everything they were told, so that a replacement starts with the
 * same settings, identities, tables and listening sockets as the one that died.
 */
export class Workers {
  readonly #options: WorkersOptions;
  readonly #slots: Slot[];
  readonly #listeners = new Map<string, Listener>();
  readonly #waiting = new Set<() => void>();
  #settings: WorkerSettings | undefined;
  #identity: IdentityMaterial | undefined;
  #serviceByUid: ReadonlyMap<number, string> = new Map();
  #retired: WorkerMetrics = NO_METRICS;
  #applied = 0;
  #stopping = false;
  #watchRounds = 0;
  #cancelWatch: Cancel = () => {};

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.count }, () => ({
      process: undefined,
      state: 'down',
      applied: undefined,
      listening: new Map(),
      lastMetrics: NO_METRICS,
      youngDeaths: 0,
      cancelRestart: () => {},
    }));
  }

  start(settings: WorkerSettings): void {
    this.#settings = settings;
    for (const slot of this.#slots) this.#spawn(slot);
    this.#watch();
  }

  /** Registry revision in force in every worker; one that is only just starting does not count. */
  get applied(): number {
    return this.#applied;
  }

  get summaries(): readonly WorkerSummary[] {
    return this.#slots.map(({ process, state }) => ({ pid: process?.pid ?? 0, state }));
  }

  setIdentity(material: IdentityMaterial): void {
    this.#identity = material;
    this.#each((worker) => worker.send({ type: 'identity', material }));
  }

  /** Whose calls are those of which service, by Unix user. */
  setCallers(serviceByUid: ReadonlyMap<number, string>): void {
    this.#serviceByUid = serviceByUid;
    this.#each((worker) => worker.send({ type: 'callers', serviceByUid }));
  }

  /** Hands on one change; the source of `options.tables` has it already. */
  applyChange(change: RegistryChange): void {
    this.#each((worker) => worker.send({ type: 'tables', change }));
  }

  /** Every worker accepts on this socket from now on; with a known id, under the new spec. */
  listen(spec: ListenerSpec, socket: ListenSocket): void {
    const known = this.#listeners.has(spec.id);
    this.#listeners.set(spec.id, { spec, socket });
    for (const slot of this.#slots) {
      slot.listening.delete(spec.id);
      // Meanwhile the kernel queues: our own copy of the socket keeps it listening.
      if (known) slot.process?.send({ type: 'unlisten', id: spec.id });
      slot.process?.send({ type: 'listen', listener: spec }, socket.handle);
    }
  }

  /** Stops accepting. The socket stays the caller's, to close. */
  unlisten(id: string): void {
    this.#listeners.delete(id);
    for (const slot of this.#slots) slot.listening.delete(id);
    this.#each((worker) => worker.send({ type: 'unlisten', id }));
  }

  /** Why some worker does not accept on it; undefined when none said so. */
  listenError(id: string): string | undefined {
    return this.#slots.map(({ listening }) => listening.get(id)).find((why) => why !== undefined);
  }

  /**
   * Resolves once all of these listeners are accepted on by every worker. (The mesh listener waits for a certificate.)
   *
   * @returns the first listener that a worker cannot listen on; undefined when all went well or `withinMs` passed
   */
  async settled(
    ids: readonly string[],
    withinMs: number,
  ): Promise<{ id: string; error: string } | undefined> {
    const done = (): boolean =>
      this.#firstListenFailure() !== undefined ||
      this.#slots.every(({ listening }) => ids.every((id) => listening.has(id)));
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        cancel();
        this.#waiting.delete(look);
        resolve();
      };
      const look = (): void => {
        if (done()) finish();
      };
      const cancel = this.#options.clock.after(withinMs, finish);
      this.#waiting.add(look);
      look();
    });
    return this.#firstListenFailure();
  }

  /** Added up over the workers that answer within 2 s (the others with what they last said) and the dead ones. */
  async metrics(): Promise<WorkerMetrics> {
    await this.#refreshMetrics();
    return sumMetrics([this.#retired, ...this.#slots.map(({ lastMetrics }) => lastMetrics)]);
  }

  /**
   * By the first worker that answers.
   *
   * @throws MeshError `worker_silent`, or `worker_refused` with the worker's own message
   */
  async explain(request: ExplainRequest): Promise<Explanation> {
    const worker = this.#slots.find(({ state }) => state === 'running')?.process;
    if (worker === undefined) {
      throw new MeshError('worker_silent', 'no worker is running yet; try again in a second');
    }
    const reply = await worker.ask({ kind: 'explain', request });
    if (reply.kind !== 'explain') throw unexpected(reply);
    return reply.explanation;
  }

  /** Of each worker that answers within 2 s. */
  async states(): Promise<readonly WorkerState[]> {
    const replies = await this.#askAll({ kind: 'state' });
    return replies.flatMap(({ reply }) => (reply.kind === 'state' ? [reply.state] : []));
  }

  /** No more requests are taken; resolves when all workers are gone, killed at the latest a second after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#cancelWatch();
    for (const slot of this.#slots) {
      slot.cancelRestart();
      slot.process?.send({ type: 'drain', graceMs });
      if (slot.process !== undefined) slot.state = 'draining';
    }
    // Not the clock's timer: that one does not keep this process alive, and the workers' channels may be closed by now.
    const deadline = setTimeout(() => this.kill(), graceMs + EXIT_MS);
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.#slots.some(({ process }) => process !== undefined)) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
    clearTimeout(deadline);
  }

  /** At once, without grace; nothing is started again. */
  kill(): void {
    this.#stopping = true;
    this.#cancelWatch();
    for (const slot of this.#slots) slot.cancelRestart();
    this.#each((worker) => worker.kill());
  }

  #spawn(slot: Slot): void {
    const { workerFile, clock, tables } = this.#options;
    const worker = new WorkerProcess(
      workerFile,
      clock,
      (event) => this.#onEvent(slot, worker, event),
      (how) => this.#onExit(slot, worker, how),
    );
    slot.process = worker;
    slot.state = 'starting';
    worker.send({ type: 'settings', settings: this.#settings! });
    if (this.#identity !== undefined) {
      worker.send({ type: 'identity', material: this.#identity });
    }
    worker.send({ type: 'callers', serviceByUid: this.#serviceByUid });
    worker.send({ type: 'tables', change: tables() });
    for (const { spec, socket } of this.#listeners.values()) {
      worker.send({ type: 'listen', listener: spec }, socket.handle);
    }
  }

  #onEvent(slot: Slot, worker: WorkerProcess, event: WorkerEvent): void {
    const { log } = this.#options;
    switch (event.type) {
      case 'ready':
        if (slot.state === 'starting') slot.state = 'running';
        log.info({ worker: worker.pid }, 'worker is ready');
        break;
      case 'applied':
        slot.applied = event.revision;
        this.#countApplied();
        break;
      case 'listening':
        if (this.#listeners.has(event.id)) slot.listening.set(event.id, undefined);
        break;
      case 'listen-failed':
        slot.listening.set(event.id, event.error);
        log.error(
          { worker: worker.pid, listener: event.id, error: event.error },
          'a worker cannot listen',
        );
        break;
      case 'log':
        log[event.level]({ worker: worker.pid, ...event.fields }, event.message);
        break;
      case 'alive':
        break;
    }
    this.#wake();
  }

  #onExit(slot: Slot, worker: WorkerProcess, how: string): void {
    const { clock, rng, log } = this.#options;
    slot.process = undefined;
    slot.state = 'down';
    slot.applied = undefined;
    slot.listening.clear();
    this.#retired = sumMetrics([this.#retired, countersOf(slot.lastMetrics)]);
    slot.lastMetrics = NO_METRICS;
    this.#wake();
    if (this.#stopping) return;

    const young = clock.now() - worker.startedAt < YOUNG_MS;
    slot.youngDeaths = young ? slot.youngDeaths + 1 : 0;
    const waitMs = young
      ? fullJitter(slot.youngDeaths - 1, BACKOFF_BASE_MS, BACKOFF_MAX_MS, rng)
      : 0;
    log.error({ worker: worker.pid, how, restartInMs: waitMs }, 'a worker ended; starting another');
    slot.cancelRestart = clock.after(waitMs, () => this.#spawn(slot));
    this.#countApplied();
  }

  #watch(): void {
    this.#cancelWatch = this.#options.clock.after(WATCH_MS, () => {
      for (const { process } of this.#slots) {
        if (process === undefined || process.silentMs() < SILENCE_MS) continue;
        this.#options.log.error(
          { worker: process.pid, silentMs: Math.round(process.silentMs()) },
          'a worker does not respond; killing it',
        );
        process.kill();
      }
      this.#watchRounds += 1;
      if (this.#watchRounds % COUNTERS_EVERY === 0) void this.#refreshMetrics();
      this.#watch();
    });
  }

  async #refreshMetrics(): Promise<void> {
    for (const { slot, worker, reply } of await this.#askAll({ kind: 'metrics' })) {
      // Counted once more if it died meanwhile: its last figures are among the retired by now.
      if (reply.kind === 'metrics' && slot.process === worker) slot.lastMetrics = reply.metrics;
    }
  }

  async #askAll(
    question: WorkerQuestion,
  ): Promise<readonly { slot: Slot; worker: WorkerProcess; reply: WorkerReply }[]> {
    const answers = await Promise.allSettled(
      this.#slots.map(async (slot) => {
        const worker = slot.process;
        if (worker === undefined || slot.state === 'starting') return undefined;
        return { slot, worker, reply: await worker.ask(question) };
      }),
    );
    return answers.flatMap((answer) =>
      answer.status === 'fulfilled' && answer.value !== undefined ? [answer.value] : [],
    );
  }

  #countApplied(): void {
    const reported = this.#slots.flatMap(({ applied }) => (applied === undefined ? [] : [applied]));
    if (reported.length === 0) return;
    const applied = Math.min(...reported);
    if (applied === this.#applied) return;
    this.#applied = applied;
    this.#options.onApplied();
  }

  #firstListenFailure(): { id: string; error: string } | undefined {
    for (const { listening } of this.#slots) {
      for (const [id, error] of listening) if (error !== undefined) return { id, error };
    }
    return undefined;
  }

  #each(act: (worker: WorkerProcess) => void): void {
    for (const { process } of this.#slots) if (process !== undefined) act(process);
  }

  #wake(): void {
    for (const look of this.#waiting) look();
  }
}

function unexpected(reply: WorkerReply): MeshError {
  return new MeshError('worker_refused', `a worker answered "${reply.kind}" to another question`);
}
