import { stat, readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { credentials, Metadata, type CallOptions, type ChannelOptions } from '@grpc/grpc-js';
import { Host } from 'etcd3/lib/connection-pool.js';
import type { Clock } from '#kit/clock.ts';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { systemRng } from '#kit/rng.ts';
import {
  rejectionOf,
  reasonOf,
  wasNotSent,
  unreachable,
  worthAnotherMember,
} from './etcd-errors.ts';

export interface TlsFiles {
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}

/** What a call may take over all members tried, divided among them within these bounds. */
const CALL_MS = 4_500;
const MIN_ATTEMPT_MS = 1_500;
const MAX_ATTEMPT_MS = 3_000;

/** Certificate files are looked at again when the last look is older than this. */
const FILES_LOOK_MS = 5_000;

/** Sent where the server name is an address: Node refuses addresses as SNI, and etcd serves one certificate anyway. */
const SNI_FOR_ADDRESSES = 'etcd';

const CHANNEL_OPTIONS: ChannelOptions = {
  // Without these a frozen or half-open server is never noticed. etcd answers pings more often than
  // every 5 s with GOAWAY, and a timer may fire a little early, hence 6 s.
  'grpc.keepalive_time_ms': 6_000,
  'grpc.keepalive_timeout_ms': 2_500,
  // The default goes up to two minutes: an etcd that is back would stay unused for that long.
  'grpc.initial_reconnect_backoff_ms': 200,
  'grpc.max_reconnect_backoff_ms': 1_000,
  // One connection per channel; the shared pool would tie a watch to the fate of other calls.
  'grpc.use_local_subchannel_pool': 1,
  // The default of 4 MB is less than what one revision may weigh.
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
};

/** A unary method of a client that etcd3's definitions made. */
type Unary = (
  request: unknown,
  metadata: Metadata,
  options: CallOptions,
  done: (error: Error | null, response: unknown) => void,
) => unknown;

/** What runs against one member, to be done by `deadline` (Unix ms, as gRPC wants it). */
export type Attempt<T> = (host: Host, deadline: number) => Promise<T>;

export interface CallInfo {
  /** For messages: `read the keys from /gatemesh/v1/ on`. */
  readonly what: string;
  /** Running it twice does no harm, so that an answer that never came is worth another member. */
  readonly repeatable: boolean;
}

/**
 * The members of one etcd cluster and the TLS material to reach them. Uses etcd3's `Host` and
 * message definitions only: its pool, retries, watch and lease managers are where it loses
 * events, hangs and storms (no deadline, no keep-alive, wall-clock leases).
 */
export class EtcdConnection {
  readonly endpoints: readonly string[];
  readonly #files: TlsFiles;
  readonly #clock: Clock;
  readonly #log: Log;
  #material: Material;
  #hosts: Host[];
  #preferred: number;
  #lookedAt: number;
  #lastComplaint = '';

  private constructor(
    endpoints: readonly string[],
    files: TlsFiles,
    material: Material,
    { clock, log }: { clock: Clock; log: Log },
  ) {
    this.endpoints = endpoints;
    this.#files = files;
    this.#material = material;
    this.#clock = clock;
    this.#log = log;
    this.#lookedAt = clock.now();
    this.#hosts = endpoints.map((endpoint) => openHost(endpoint, material));
    // Spreads the gateways of a mesh over the members.
    this.#preferred = Math.floor(systemRng() * endpoints.length);
  }

  /** Reads the certificate files; connects at the first call. @throws MeshError `store_config` */
  static async open(
    endpoints: readonly string[],
    files: TlsFiles,
    context: { clock: Clock; log: Log },
  ): Promise<EtcdConnection> {
    const material = await readMaterial(files);
    try {
      return new EtcdConnection(endpoints, files, material, context);
    } catch (error) {
      throw configError(`the etcd client certificate cannot be used: ${messageOf(error)}`, error);
    }
  }

  close(): void {
    for (const host of this.#hosts) host.close();
    this.#hosts = [];
  }

  /** A connection of its own to the n-th member, counted from the preferred one. The caller closes it. */
  openHost(skip: number): Host {
    const endpoint = this.endpoints[(this.#preferred + skip) % this.endpoints.length]!;
    return openHost(endpoint, this.#material);
  }

  /** Runs `attempt` against the members in turn until one answers. @throws MeshError */
  async call<T>(info: CallInfo, attempt: Attempt<T>): Promise<T> {
    await this.#refreshMaterial();
    const count = this.#hosts.length;
    if (count === 0) throw new MeshError('store_closed', 'the etcd client was closed');
    const attemptMs = Math.min(MAX_ATTEMPT_MS, Math.max(MIN_ATTEMPT_MS, CALL_MS / count));
    const tried: string[] = [];
    for (let i = 0; i < count; i++) {
      const member = (this.#preferred + i) % count;
      const host = this.#hosts[member]!;
      try {
        const result = await attempt(host, Date.now() + attemptMs);
        this.#preferred = member;
        return result;
      } catch (error) {
        if (error instanceof MeshError) throw error;
        if (!worthAnotherMember(error)) throw rejectionOf(error, info.what);
        tried.push(`${this.endpoints[member]}: ${reasonOf(error)}`);
        if (!info.repeatable && !wasNotSent(error)) {
          this.#preferred = (member + 1) % count;
          throw unreachable(info.what, tried, 'It may have been done all the same.', error);
        }
        if (i === count - 1) throw unreachable(info.what, tried, '', error);
      }
    }
    throw new Error('not reached');
  }

  /**
   * Takes renewed certificate files into use: new channels first, then the old ones close, which
   * lets the calls on them finish. A half-written pair is left for the next look.
   */
  async #refreshMaterial(): Promise<void> {
    const now = this.#clock.now();
    if (now - this.#lookedAt < FILES_LOOK_MS) return;
    this.#lookedAt = now;
    try {
      if ((await stampOf(this.#files)) === this.#material.stamp) return;
      const material = await readMaterial(this.#files);
      const hosts = this.endpoints.map((endpoint) => openHost(endpoint, material));
      if (this.#hosts.length === 0) return hosts.forEach((host) => host.close());
      const old = this.#hosts;
      this.#hosts = hosts;
      this.#material = material;
      for (const host of old) host.close();
      this.#lastComplaint = '';
      this.#log.info('took renewed etcd client certificates into use');
    } catch (error) {
      const complaint = messageOf(error);
      if (complaint === this.#lastComplaint) return;
      this.#lastComplaint = complaint;
      this.#log.warn({ error: complaint }, 'kept the old etcd client certificates');
    }
  }
}

/** One unary call on one member. */
export function unary<Response>(
  host: Host,
  service: 'KV' | 'Lease',
  method: string,
  request: unknown,
  deadline: number,
): Promise<Response> {
  const client = host.getServiceClient(service) as unknown as Record<string, Unary>;
  return new Promise((resolve, reject) => {
    client[method]!(request, requireLeader(), { deadline }, (error, response) => {
      if (error === null) resolve(response as Response);
      else reject(error);
    });
  });
}

/** A member cut off from its leader then says so, instead of answering late or with old data. */
export function requireLeader(): Metadata {
  const metadata = new Metadata();
  metadata.set('hasleader', 'true');
  return metadata;
}

interface Material {
  readonly ca: Buffer | null;
  readonly cert: Buffer | null;
  readonly key: Buffer | null;
  /** Changes when a file does. */
  readonly stamp: string;
}

async function readMaterial(files: TlsFiles): Promise<Material> {
  const stamp = await stampOf(files);
  const read = async (path: string | undefined) => (path === undefined ? null : readFile(path));
  const [ca, cert, key] = await Promise.all(
    [files.caFile, files.certFile, files.keyFile].map((path) => orConfigError(path, read(path))),
  );
  return { ca: ca!, cert: cert!, key: key!, stamp };
}

async function stampOf({ caFile, certFile, keyFile }: TlsFiles): Promise<string> {
  const stamp = async (path: string | undefined) => {
    if (path === undefined) return '';
    const { mtimeMs, size, ino } = await orConfigError(path, stat(path));
    return `${mtimeMs}:${size}:${ino}`;
  };
  return (await Promise.all([caFile, certFile, keyFile].map(stamp))).join(' ');
}

async function orConfigError<T>(path: string | undefined, result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    throw configError(`cannot read the etcd certificate file ${path}: ${messageOf(error)}`, error);
  }
}

function openHost(endpoint: string, { ca, cert, key }: Material): Host {
  const { protocol, hostname, host } = new URL(endpoint);
  if (protocol === 'http:') return new Host(host, credentials.createInsecure(), CHANNEL_OPTIONS);
  const address = hostname.replace(/^\[|\]$/g, '');
  if (isIP(address) === 0) {
    return new Host(host, credentials.createSsl(ca, key, cert), CHANNEL_OPTIONS);
  }
  const verifyAddress = credentials.createSsl(ca, key, cert, {
    checkServerIdentity: (_name, certificate) => checkServerIdentity(address, certificate),
  });
  return new Host(host, verifyAddress, {
    ...CHANNEL_OPTIONS,
    'grpc.ssl_target_name_override': SNI_FOR_ADDRESSES,
  });
}

export function configError(message: string, cause?: unknown): MeshError {
  return new MeshError('store_config', message, { cause, exitCode: EXIT.usage });
}
