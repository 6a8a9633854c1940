import type { ClientDuplexStream, Metadata } from '@grpc/grpc-js';
import type {
  ICompare,
  IDeleteRangeResponse,
  IEvent,
  IKeyValue,
  ILeaseGrantResponse,
  ILeaseKeepAliveRequest,
  ILeaseKeepAliveResponse,
  IPutResponse,
  IRangeRequest,
  IRangeResponse,
  IRequestOp,
  ITxnRequest,
  ITxnResponse,
} from 'etcd3';
import type { Host } from 'etcd3/lib/connection-pool.js';
import { systemClock, type Cancel, type Clock } from '#kit/clock.ts';
import { MeshError } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { checkTxn } from './check-txn.ts';
import {
  configError,
  EtcdConnection,
  requireLeader,
  unary,
  type CallInfo,
  type TlsFiles,
} from './etcd-connection.ts';
import { isCompacted } from './etcd-errors.ts';
import { openEtcdWatch } from './etcd-watch.ts';
import type {
  Compare,
  Entry,
  LeaseId,
  RangeResult,
  Store,
  StoreEvent,
  Txn,
  TxnOp,
  TxnResult,
  Watcher,
} from './store.ts';

/** Keys read at a time: at 64 KiB a document this is the most that fits into one answer. */
const PAGE_KEYS = 1_000;
const RANGE_ATTEMPTS = 3;

export interface EtcdOptions extends TlsFiles {
  /** `https://10.0.0.10:2379` of each member; all with the same scheme. */
  readonly endpoints: readonly string[];
  /** `/gatemesh/v1` */
  readonly prefix: string;
  readonly log: Log;
  readonly clock?: Clock;
}

/**
 * The registry in etcd. Does not connect yet: a gateway starts from its snapshot while etcd is away.
 *
 * @throws MeshError `store_config` (exit code 64): unusable endpoints or certificate files
 */
export async function openEtcdStore(options: EtcdOptions): Promise<Store> {
  const { log, clock = systemClock } = options;
  const endpoints = options.endpoints.map(checkEndpoint);
  if (endpoints.length === 0) {
    throw configError(
      'registry.etcd.endpoints: wanted at least one URL such as "https://10.0.0.10:2379"; got none',
    );
  }
  if (new Set(endpoints.map((endpoint) => new URL(endpoint).protocol)).size > 1) {
    throw configError('registry.etcd.endpoints: wanted all of them with https, or all with http');
  }
  if ((options.certFile === undefined) !== (options.keyFile === undefined)) {
    throw configError('registry.etcd: wanted certFile and keyFile together; got one of them');
  }
  const connection = await EtcdConnection.open(endpoints, options, { clock, log });
  return new EtcdStore(connection, `${options.prefix.replace(/\/+$/, '')}/`, clock);
}

function checkEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw configError(
      `registry.etcd.endpoints: wanted a URL such as "https://10.0.0.10:2379"; got ${JSON.stringify(text)}`,
    );
  }
  if (url.port === '') url.port = '2379';
  return `${url.protocol}//${url.host}`;
}

class EtcdStore implements Store {
  readonly name: string;
  readonly #connection: EtcdConnection;
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #watches = new Set<Cancel>();
  /** Watches that were lost in a row: the next one tries another member. */
  #skip = 0;
  #clusterId: string | undefined;
  #closed = false;

  constructor(connection: EtcdConnection, prefix: string, clock: Clock) {
    this.#connection = connection;
    this.#prefix = prefix;
    this.#clock = clock;
    this.name = `etcd at ${connection.endpoints.join(', ')}`;
  }

  async range(prefix: string): Promise<RangeResult> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#readPages(prefix);
      } catch (error) {
        // Compacted between two pages: begin again at a fresh revision.
        if (!isCompacted(error) || attempt === RANGE_ATTEMPTS) throw error;
      }
    }
  }

  /** All pages as of the revision of the first. */
  async #readPages(prefix: string): Promise<RangeResult> {
    const info = { what: `read the keys under ${this.#prefix}${prefix}`, repeatable: true };
    const rangeEnd = endOf(this.#encode(prefix));
    const entries: Entry[] = [];
    let revision = 0;
    let clusterId = '';
    for (let key = this.#encode(prefix); ;) {
      const request: IRangeRequest = { key, range_end: rangeEnd, limit: PAGE_KEYS, revision };
      const page = await this.#unary<IRangeResponse>(info, 'KV', 'range', request);
      if (revision === 0) {
        revision = Number(page.header.revision);
        clusterId = page.header.cluster_id;
      }
      for (const pair of page.kvs) entries.push(this.#entryOf(pair));
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) break;
      key = Buffer.concat([last.key, Buffer.of(0)]);
    }
    this.#clusterId = clusterId;
    return { revision, clusterId, entries };
  }

  async get(key: string) {
    const info = { what: `read the key ${this.#prefix}${key}`, repeatable: true };
    const request: IRangeRequest = { key: this.#encode(key) };
    const { kvs } = await this.#unary<IRangeResponse>(info, 'KV', 'range', request);
    return kvs[0] === undefined ? undefined : this.#entryOf(kvs[0]);
  }

  async put(key: string, value: string, lease?: LeaseId) {
    const info = { what: `write the key ${this.#prefix}${key}`, repeatable: false };
    const request = { key: this.#encode(key), value: Buffer.from(value), lease: lease ?? '0' };
    const { header } = await this.#unary<IPutResponse>(info, 'KV', 'put', request);
    return { revision: Number(header.revision) };
  }

  async delete(key: string) {
    const info = { what: `delete the key ${this.#prefix}${key}`, repeatable: false };
    const request = { key: this.#encode(key) };
    const response = await this.#unary<IDeleteRangeResponse>(info, 'KV', 'deleteRange', request);
    return { revision: Number(response.header.revision), deleted: response.deleted !== '0' };
  }

  async txn(txn: Txn): Promise<TxnResult> {
    checkTxn(txn);
    const { compare, success, failure = [] } = txn;
    const keys = [...compare, ...success, ...failure].map(({ key }) => `${this.#prefix}${key}`);
    const writes = [...success, ...failure].some((op) => op.type !== 'get');
    const info = { what: `change the keys ${keys.join(', ')} together`, repeatable: !writes };
    const request: ITxnRequest = {
      compare: compare.map((condition) => this.#compareOf(condition)),
      success: success.map((op) => this.#opOf(op)),
      failure: failure.map((op) => this.#opOf(op)),
    };
    const response = await this.#unary<ITxnResponse>(info, 'KV', 'txn', request);
    const ran = response.succeeded ? success : failure;
    const gets = ran.flatMap((op, i) => {
      if (op.type !== 'get') return [];
      const [pair] = response.responses[i]!.response_range.kvs;
      return [pair === undefined ? undefined : this.#entryOf(pair)];
    });
    return { succeeded: response.succeeded, revision: Number(response.header.revision), gets };
  }

  watch(prefix: string, fromRevision: number, watcher: Watcher): Cancel {
    if (this.#closed) throw closedError(this.name);
    const key = this.#encode(prefix);
    const end = openEtcdWatch({
      host: this.#connection.openHost(this.#skip),
      key,
      rangeEnd: endOf(key),
      fromRevision,
      clusterId: this.#clusterId,
      clock: this.#clock,
      toEvent: (event) => this.#eventOf(event),
      watcher: {
        onEvents: (revision, events) => {
          this.#skip = 0;
          watcher.onEvents(revision, events);
        },
        onProgress: (revision) => {
          this.#skip = 0;
          watcher.onProgress(revision);
        },
        onLost: (reason) => {
          this.#skip++;
          this.#watches.delete(end);
          watcher.onLost(reason);
        },
      },
    });
    this.#watches.add(end);
    return () => {
      this.#watches.delete(end);
      end();
    };
  }

  async grant(ttlSeconds: number) {
    const info = { what: 'open a lease', repeatable: false };
    const request = { TTL: ttlSeconds };
    return (await this.#unary<ILeaseGrantResponse>(info, 'Lease', 'leaseGrant', request)).ID;
  }

  async keepAlive(lease: LeaseId) {
    const info = { what: `keep the lease ${lease} alive`, repeatable: true };
    return this.#connection.call(info, (host, deadline) => keepAliveOnce(host, lease, deadline));
  }

  async revoke(lease: LeaseId) {
    const info = { what: `end the lease ${lease}`, repeatable: true };
    try {
      await this.#unary(info, 'Lease', 'leaseRevoke', { ID: lease });
    } catch (error) {
      // Gone already is what was wanted.
      if (!(error instanceof MeshError && error.code === 'lease_lost')) throw error;
    }
  }

  async close() {
    this.#closed = true;
    for (const end of this.#watches) end();
    this.#watches.clear();
    this.#connection.close();
  }

  #unary<Response>(info: CallInfo, service: 'KV' | 'Lease', method: string, request: unknown) {
    if (this.#closed) throw closedError(this.name);
    return this.#connection.call(info, (host, deadline) =>
      unary<Response>(host, service, method, request, deadline),
    );
  }

  #encode(key: string): Buffer {
    return Buffer.from(this.#prefix + key);
  }

  #decode(key: Buffer): string {
    return key.toString().slice(this.#prefix.length);
  }

  #entryOf(pair: IKeyValue): Entry {
    return {
      key: this.#decode(pair.key),
      value: pair.value.toString(),
      createRevision: Number(pair.create_revision),
      modRevision: Number(pair.mod_revision),
      version: Number(pair.version),
      lease: pair.lease === '0' ? undefined : pair.lease,
    };
  }

  #eventOf({ type, kv }: IEvent): StoreEvent {
    const key = this.#decode(kv.key);
    if (type === 'Delete') return { type: 'delete', key, modRevision: Number(kv.mod_revision) };
    return { type: 'put', key, entry: this.#entryOf(kv) };
  }

  #compareOf({ key, target, op, value }: Compare): ICompare {
    const common = { key: this.#encode(key), result: op === '==' ? 'Equal' : 'Greater' } as const;
    switch (target) {
      case 'version':
        return { ...common, target: 'Version', version: value };
      case 'modRevision':
        return { ...common, target: 'Mod', mod_revision: value };
      case 'value':
        return { ...common, target: 'Value', value: Buffer.from(value) };
    }
  }

  #opOf(op: TxnOp): IRequestOp {
    const key = this.#encode(op.key);
    switch (op.type) {
      case 'get':
        return { request_range: { key } };
      case 'delete':
        return { request_delete_range: { key } };
      case 'put':
        return { request_put: { key, value: Buffer.from(op.value), lease: op.lease ?? '0' } };
    }
  }
}

interface LeaseService {
  leaseKeepAlive(
    metadata: Metadata,
    options: { readonly deadline: number },
  ): ClientDuplexStream<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>;
}

/** One question and one answer on a stream of its own, so that it has a deadline and can move to another member. */
function keepAliveOnce(host: Host, lease: LeaseId, deadline: number): Promise<number> {
  const service = host.getServiceClient('Lease') as unknown as LeaseService;
  return new Promise((resolve, reject) => {
    const stream = service.leaseKeepAlive(requireLeader(), { deadline });
    stream.on('error', reject);
    stream.on('end', () => reject(new Error('etcd ended the keep-alive without an answer')));
    stream.on('data', ({ TTL }: ILeaseKeepAliveResponse) => {
      if (Number(TTL) > 0) resolve(Number(TTL));
      else reject(new MeshError('lease_lost', `the lease ${lease} has expired or was revoked`));
      stream.cancel();
    });
    stream.write({ ID: lease });
  });
}

function closedError(name: string): MeshError {
  return new MeshError('store_closed', `${name} was closed by this process`);
}

/** The first key after all keys that start with `prefix`, in byte order. */
function endOf(prefix: Buffer): Buffer {
  const last = prefix.findLastIndex((byte) => byte < 0xff);
  const end = Buffer.from(prefix.subarray(0, last + 1));
  end[last]! += 1;
  return end;
}
