import { fullJitter } from '#kit/backoff.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type { Rng } from '#kit/rng.ts';
import type { Entry, LeaseId, Store, TxnOp } from './store/store.ts';

/** How long a dead gateway's keys stay. Three keep-alives fit in, so that one lost packet costs nothing. */
export const LEASE_TTL_SECONDS = 15;
const TTL_MS = LEASE_TTL_SECONDS * 1_000;
const KEEP_ALIVE_MS = 5_000;
/** Keep-alives after which the keys themselves are looked at. */
const VERIFY_EVERY = 3;
/** Changes made within this time leave together, as one revision. */
const COALESCE_MS = 20;

const RETRY_BASE_MS = 200;
/** While the lease may still live there is little time; afterwards the whole fleet is in the same boat. */
const RETRY_MAX_MS = 2_000;
const REGISTER_MAX_MS = 10_000;
/** Writes per transaction, below the store's limit of 128. */
const CHUNK = 100;

export interface RegistrarOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
  /** The key whose owner owns all others: `nodes/vm-a`. Nothing is written before it is set. */
  readonly nodeKey: string;
  /** This gateway's mesh address: a node document with another one is another gateway's. */
  readonly address: string;
}

export interface RegistrarState {
  /** All keys are in the registry under a lease that is alive, as far as is known. */
  readonly connected: boolean;
  /** Monotonic ms when `connected` last changed. */
  readonly since: number;
  readonly lease: LeaseId | undefined;
}

/**
 * Keeps the keys of one node registered under one lease, for ever: takes a new lease and writes
 * everything again whenever the old one is gone or in doubt. Never throws; says so in the log when
 * its state changes.
 */
export class Registrar {
  readonly #options: RegistrarOptions;
  readonly #wanted = new Map<string, string>();
  /** What stands in the registry under our lease; null where that is not known any more. */
  readonly #written = new Map<string, string | null>();
  #lease: LeaseId | undefined;
  /** Revision of our node document; 0 while not registered. */
  #nodeRevision = 0;
  /** Monotonic time of the last keep-alive that was answered, counted from when it was asked. */
  #keptAt = 0;
  #keepAlives = 0;
  #attempt = 0;
  #connected = false;
  #since: number;
  /** What the log was told last: `registered`, or the code of what is wrong. */
  #reported = '';
  #stopped = false;
  #cancelTimer: Cancel = () => {};
  #dueAt = Infinity;
  #step: Promise<void> | undefined;
  #again = false;

  constructor(options: RegistrarOptions) {
    this.#options = options;
    this.#since = options.clock.now();
  }

  get state(): RegistrarState {
    return { connected: this.#connected, since: this.#since, lease: this.#lease };
  }

  /** Wants `value` under `key`, or the key gone. Written soon, together with other changes, if it differs. */
  set(key: string, value: string | undefined): void {
    if (this.#stopped || this.#wanted.get(key) === value) return;
    if (value === undefined) this.#wanted.delete(key);
    else this.#wanted.set(key, value);
    this.#again = true;
    // A step that runs takes the change along or plans the next; one that waits to try again is not hurried.
    const soon = this.#options.clock.now() + COALESCE_MS;
    if (this.#step === undefined && this.#attempt === 0 && soon < this.#dueAt) {
      this.#plan(COALESCE_MS);
    }
  }

  /** Ends it. With `revoke` the keys are gone when it resolves, else they stay until the lease ends. */
  async stop({ revoke }: { readonly revoke: boolean }): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer();
    await this.#step;
    if (!revoke || this.#lease === undefined) return;
    const { store, log } = this.#options;
    try {
      await store.revoke(this.#lease);
    } catch (error) {
      log.warn({ problem: messageOf(error) }, 'could not deregister; the lease will end by itself');
    }
    this.#lease = undefined;
  }

  #plan(ms: number): void {
    this.#cancelTimer();
    if (this.#stopped) return;
    this.#dueAt = this.#options.clock.now() + ms;
    this.#cancelTimer = this.#options.clock.after(ms, () => {
      this.#dueAt = Infinity;
      this.#step = this.#run().finally(() => (this.#step = undefined));
    });
  }

  /** One step at a time. */
  async #run(): Promise<void> {
    this.#again = false;
    let waitMs: number;
    try {
      await this.#advance();
      this.#attempt = 0;
      const dueMs = this.#keptAt + KEEP_ALIVE_MS - this.#options.clock.now();
      waitMs = this.#again ? COALESCE_MS : Math.max(0, dueMs);
    } catch (error) {
      waitMs = this.#fail(error);
    }
    this.#plan(waitMs);
  }

  async #advance(): Promise<void> {
    const { clock, nodeKey, store } = this.#options;
    if (!this.#wanted.has(nodeKey)) return void (this.#keptAt = clock.now());
    if (this.#lease !== undefined && clock.now() - this.#keptAt >= TTL_MS) {
      // Asleep or cut off for a whole lease life: whatever the store thinks of it, begin again.
      this.#forgetLease();
    }
    if (this.#nodeRevision === 0) {
      await this.#register();
    } else if (clock.now() - this.#keptAt >= KEEP_ALIVE_MS) {
      const askedAt = clock.now();
      await store.keepAlive(this.#lease!);
      this.#keptAt = askedAt;
      if (++this.#keepAlives % VERIFY_EVERY === 0) await this.#verify();
    }
    await this.#writeChanges();
    this.#report('registered');
  }

  async #register(): Promise<void> {
    const { clock, store, nodeKey } = this.#options;
    if (this.#lease === undefined) {
      const askedAt = clock.now();
      this.#lease = await store.grant(LEASE_TTL_SECONDS);
      this.#keptAt = askedAt;
    }
    const found = await store.get(nodeKey);
    if (found !== undefined) this.#checkOwner(found);
    const revision = found?.modRevision ?? 0;
    for (const key of this.#written.keys()) this.#written.set(key, null);
    // The node document goes first and only onto what was just looked at: of two gateways one gets it.
    await this.#write([nodeKey], revision);
  }

  /** @throws MeshError `node_taken` */
  #checkOwner(found: Entry): void {
    const { nodeKey, address } = this.#options;
    if (found.lease !== undefined && found.lease === this.#lease) return;
    const theirs = addressIn(found.value);
    // Our own last run: nobody else can listen where we do.
    if (theirs === address) return;
    const node = nodeKey.split('/').at(-1);
    throw new MeshError(
      'node_taken',
      `node ${node} is already registered by another gateway, at ${theirs ?? 'an unknown address'} (this one is at ${address}). ` +
        `Give one of them another "node", or delete the key ${nodeKey} if that gateway is gone for good`,
    );
  }

  async #writeChanges(): Promise<void> {
    const keys = new Set([...this.#wanted.keys(), ...this.#written.keys()]);
    const changed = [...keys].filter((key) => this.#wanted.get(key) !== this.#written.get(key));
    for (let at = 0; at < changed.length; at += CHUNK) {
      await this.#write(changed.slice(at, at + CHUNK), this.#nodeRevision);
    }
  }

  /** Brings keys to what is wanted, provided that the node document is still the one of `nodeRevision`. */
  async #write(keys: readonly string[], nodeRevision: number): Promise<void> {
    const { store, nodeKey } = this.#options;
    const lease = this.#lease!;
    const wanted = keys.map((key) => [key, this.#wanted.get(key)] as const);
    const success = wanted.map(([key, value]): TxnOp =>
      value === undefined ? { type: 'delete', key } : { type: 'put', key, value, lease },
    );
    const result = await store.txn({
      compare: [{ key: nodeKey, target: 'modRevision', op: '==', value: nodeRevision }],
      success,
    });
    if (!result.succeeded) {
      this.#nodeRevision = 0;
      throw new MeshError('node_changed', `the key ${nodeKey} was changed or deleted by another`);
    }
    if (keys.includes(nodeKey)) this.#nodeRevision = result.revision;
    for (const [key, value] of wanted) {
      if (value === undefined) this.#written.delete(key);
      else this.#written.set(key, value);
    }
  }

  /** Keys that are not as they were written are written again. */
  async #verify(): Promise<void> {
    const { store, log, nodeKey } = this.#options;
    const keys = [...this.#written.keys()];
    for (let at = 0; at < keys.length; at += CHUNK) {
      const chunk = keys.slice(at, at + CHUNK);
      const success = chunk.map((key) => ({ type: 'get', key }) as const);
      const { gets } = await store.txn({ compare: [], success });
      for (const [i, key] of chunk.entries()) {
        const entry = gets[i];
        if (entry?.value === this.#written.get(key) && entry?.lease === this.#lease) continue;
        log.warn({ key }, 'a key of this node was changed or deleted by another: writing it again');
        this.#written.set(key, null);
        if (key === nodeKey) this.#nodeRevision = 0;
      }
    }
    if (this.#nodeRevision === 0) await this.#register();
  }

  /** Returns how long to wait. */
  #fail(error: unknown): number {
    const { rng } = this.#options;
    const code = error instanceof MeshError ? error.code : '';
    if (code === 'lease_lost') this.#forgetLease();
    this.#report(code, messageOf(error));
    const maxMs = this.#nodeRevision === 0 ? REGISTER_MAX_MS : RETRY_MAX_MS;
    return fullJitter(this.#attempt++, RETRY_BASE_MS, maxMs, rng);
  }

  #forgetLease(): void {
    this.#lease = undefined;
    this.#nodeRevision = 0;
  }

  /** One line for each change of state, however long it lasts. */
  #report(status: string, problem?: string): void {
    const { log, clock, nodeKey, store } = this.#options;
    const connected = problem === undefined;
    if (connected !== this.#connected) {
      this.#connected = connected;
      this.#since = clock.now();
    }
    if (status === this.#reported) return;
    this.#reported = status;
    const fields = { nodeKey, store: store.name, lease: this.#lease };
    if (connected) log.info(fields, 'registered');
    else log.warn({ ...fields, code: status, problem }, 'not registered; trying until it works');
  }
}

/** The `address` of a node document; undefined when it has none. */
function addressIn(text: string): string | undefined {
  try {
    const { address } = JSON.parse(text) as { address?: unknown };
    return typeof address === 'string' ? address : undefined;
  } catch {
    // Written by hand: not one of ours.
    return undefined;
  }
}
