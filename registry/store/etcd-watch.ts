import type { ClientDuplexStream, Metadata } from '@grpc/grpc-js';
import type { IEvent, IWatchRequest, IWatchResponse } from 'etcd3';
import type { Host } from 'etcd3/lib/connection-pool.js';
import type { Cancel, Clock } from '#kit/clock.ts';
import { messageOf } from '#kit/errors.ts';
import { requireLeader } from './etcd-connection.ts';
import { reasonOf } from './etcd-errors.ts';
import type { StoreEvent, Watcher } from './store.ts';

/** A server that takes the connection and then says nothing. */
const CREATE_MS = 5_000;
const ASK_MS = 4_000;
const SILENCE_MS = 15_000;
const TICK_MS = 500;

export interface WatchOptions {
  /** Its own connection, closed when the watch ends: etcd3 and gRPC let one bad watch block the others on it. */
  readonly host: Host;
  readonly key: Buffer;
  readonly rangeEnd: Buffer;
  readonly fromRevision: number;
  /** Of the list this watch continues; unknown when there was none. */
  readonly clusterId: string | undefined;
  readonly clock: Clock;
  readonly toEvent: (event: IEvent) => StoreEvent;
  readonly watcher: Watcher;
}

interface WatchService {
  watch(metadata: Metadata): ClientDuplexStream<IWatchRequest, IWatchResponse>;
}

/** One watch on one stream of its own. Any doubt ends it with one `onLost`; nothing is resumed here. */
export function openEtcdWatch(options: WatchOptions): Cancel {
  const watch = new EtcdWatch(options);
  return () => watch.end();
}

class EtcdWatch {
  readonly #options: WatchOptions;
  readonly #stream: ClientDuplexStream<IWatchRequest, IWatchResponse>;
  readonly #openedAt: number;
  #ended = false;
  #created = false;
  #next: number;
  #clusterId: string | undefined;
  #fragments: IEvent[] = [];
  #askedAt: number;
  #heardAt: number;
  #progress = 0;
  #cancelTick: Cancel = () => {};

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#next = options.fromRevision;
    this.#clusterId = options.clusterId;
    this.#openedAt = this.#askedAt = this.#heardAt = options.clock.now();

    const service = options.host.getServiceClient('Watch') as unknown as WatchService;
    this.#stream = service.watch(requireLeader());
    this.#stream.on('data', (response: IWatchResponse) => this.#receive(response));
    this.#stream.on('end', () => this.#lose('etcd ended the watch'));
    // Stays attached after the end: a late error without a listener would end the process.
    this.#stream.on('error', (error) => this.#lose(`disconnected: ${reasonOf(error)}`));
    this.#stream.write({
      create_request: {
        key: options.key,
        range_end: options.rangeEnd,
        start_revision: options.fromRevision,
        progress_notify: true,
        fragment: true,
      },
    });
    this.#tick();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancelTick();
    this.#stream.cancel();
    this.#options.host.close();
  }

  #lose(reason: string): void {
    if (this.#ended) return;
    this.end();
    this.#options.watcher.onLost(reason);
  }

  #tick(): void {
    const now = this.#options.clock.now();
    if (!this.#created && now - this.#openedAt > CREATE_MS) {
      return this.#lose('silence: etcd did not confirm the watch in time');
    }
    if (now - this.#heardAt > SILENCE_MS) return this.#lose('silence: etcd has stopped answering');
    if (this.#created && now - this.#askedAt >= ASK_MS) {
      this.#askedAt = now;
      this.#stream.write({ progress_request: {} });
    }
    this.#cancelTick = this.#options.clock.after(TICK_MS, () => this.#tick());
  }

  #receive(response: IWatchResponse): void {
    if (this.#ended) return;
    try {
      const doubt = this.#take(response);
      if (doubt !== undefined) this.#lose(doubt);
    } catch (error) {
      // Thrown inside a gRPC callback it would end the process.
      this.#lose(`a watch answer could not be used: ${messageOf(error)}`);
    }
  }

  /** Returns why the watch cannot be trusted any more. */
  #take(response: IWatchResponse): string | undefined {
    const { header } = response;
    this.#heardAt = this.#options.clock.now();
    if (this.#clusterId !== undefined && header.cluster_id !== this.#clusterId) {
      return `another etcd cluster answers (${header.cluster_id}, was ${this.#clusterId})`;
    }
    this.#clusterId = header.cluster_id;
    if (Number(response.compact_revision) > 0) {
      return `compacted: revisions before ${response.compact_revision} are gone`;
    }
    if (response.canceled) return `etcd cancelled the watch: ${response.cancel_reason}`;
    if (response.created) {
      this.#created = true;
      return undefined;
    }
    if (response.events.length > 0) return this.#takeEvents(response);
    return this.#takeProgress(Number(header.revision));
  }

  #takeEvents({ events, fragment }: IWatchResponse): undefined {
    this.#fragments.push(...events);
    // A large revision comes in pieces; half of one must not be seen.
    if (fragment) return;
    const complete = this.#fragments.map(this.#options.toEvent);
    this.#fragments = [];
    // A member that catches up may repeat itself.
    const fresh = complete.filter((event) => revisionOf(event) >= this.#next);
    const last = fresh.at(-1);
    if (last === undefined) return;
    this.#next = revisionOf(last) + 1;
    this.#options.watcher.onEvents(this.#next - 1, fresh);
  }

  #takeProgress(revision: number): string | undefined {
    // After a restore from a backup etcd counts from an older revision and would stay silent up to ours.
    if (revision < this.#next - 1) {
      return `the revision went back from ${this.#next - 1} to ${revision}`;
    }
    // Before 3.4.25 an answer may overtake events it covers (etcd-io/etcd#15220), so that each is only
    // taken for proof of what the one before it said.
    const proven = Math.max(this.#next - 1, this.#progress);
    this.#progress = revision;
    this.#options.watcher.onProgress(proven);
    return undefined;
  }
}

function revisionOf(event: StoreEvent): number {
  return event.type === 'put' ? event.entry.modRevision : event.modRevision;
}
