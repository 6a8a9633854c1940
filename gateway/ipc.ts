import type { IdentityMaterial } from '../ca/identity.ts';
import type { RegistryChange } from '../registry/view-types.ts';

/**
 * What supervisor and workers say to each other, over the fork's IPC channel with `serialization: 'advanced'`
 * (structured clone, so Maps and typed arrays travel as they are). Listening sockets travel beside `listen`
 * as a native handle: bound by the supervisor, so that a worker's death refuses nobody.
 */
export type ToWorker =
  | { readonly type: 'settings'; readonly settings: WorkerSettings }
  | { readonly type: 'identity'; readonly material: IdentityMaterial }
  /** Unix users whose calls on an egress listener without `as` are those of a service; replaces what was said before. */
  | { readonly type: 'callers'; readonly serviceByUid: ReadonlyMap<number, string> }
  | { readonly type: 'tables'; readonly change: RegistryChange }
  /** Comes with the bound handle. */
  | { readonly type: 'listen'; readonly listener: ListenerSpec }
  | { readonly type: 'unlisten'; readonly id: string }
  /** Ask for a reply of the same `id`. */
  | { readonly type: 'ask'; readonly id: number; readonly question: WorkerQuestion }
  /** Stop accepting, finish what is in flight within `graceMs`, then exit 0. */
  | { readonly type: 'drain'; readonly graceMs: number };

export type FromWorker =
  | { readonly type: 'ready' }
  /** Tables of this revision are in force. */
  | { readonly type: 'applied'; readonly revision: number }
  | { readonly type: 'listening'; readonly id: string }
  | { readonly type: 'listen-failed'; readonly id: string; readonly error: string }
  | { readonly type: 'reply'; readonly id: number; readonly reply: WorkerReply }
  /** Sent every second; a worker that stops sending does not turn its loop. */
  | { readonly type: 'alive'; readonly eventLoopDelayMs: number }
  | {
      readonly type: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    };

export interface WorkerSettings {
  readonly node: string;
  readonly zone: string;
  readonly trustDomain: string;
  /** The node's own identity: the source of a call when no service is known. */
  readonly nodeIdentity: string;
  /** Name of the edge gateway this node runs, if any. */
  readonly gateway: string | undefined;
  readonly accessLog: boolean;
  /** `host:port` of the admin API on loopback, where the mesh port leads other nodes. */
  readonly adminAddress: string | undefined;
}

export type ListenerSpec =
  | {
      readonly id: string;
      readonly kind: 'edge';
      readonly gateway: string;
      readonly protocol: 'http' | 'https';
      readonly tlsMin: '1.2' | '1.3';
      /** Read from the files that `config/certificates` names; the first is the default. Empty for http. */
      readonly certificates: readonly EdgeCertificate[];
      readonly trustedProxies: readonly string[];
    }
  | {
      readonly id: string;
      readonly kind: 'edge-tcp';
      readonly gateway: string;
      /** As its document says: TCP routes go by it. */
      readonly port: number;
      /** Clients speak TLS, which ends at the service; they are routed by the server name they ask for. */
      readonly isTls: boolean;
    }
  | {
      readonly id: string;
      readonly kind: 'egress';
      /** Identity of the calls made here; the node's when absent. */
      readonly as: string | undefined;
      /** Every call goes to this service, whatever its Host; absent: by Host or absolute-form. */
      readonly to: string | undefined;
    }
  | { readonly id: string; readonly kind: 'mesh' };

export interface EdgeCertificate {
  readonly hosts: readonly string[];
  readonly certPem: string;
  readonly keyPem: string;
}

export type WorkerQuestion =
  | { readonly kind: 'metrics' }
  | { readonly kind: 'explain'; readonly request: ExplainRequest }
  | { readonly kind: 'state' };

export type WorkerReply =
  | { readonly kind: 'metrics'; readonly metrics: WorkerMetrics }
  | { readonly kind: 'explain'; readonly explanation: Explanation }
  | { readonly kind: 'state'; readonly state: WorkerState }
  | { readonly kind: 'error'; readonly message: string };

/** Cumulative since the worker started; the supervisor adds up workers, and keeps the sums of dead ones. */
export interface WorkerMetrics {
  readonly requests: readonly {
    readonly direction: 'edge' | 'egress' | 'ingress';
    readonly source: string;
    readonly destination: string;
    readonly route: string;
    readonly code: string;
    readonly reason: string;
    readonly count: number;
  }[];
  /** Upper bounds in seconds of the duration buckets; the counts below are per bucket, the last one is +Inf. */
  readonly bounds: readonly number[];
  readonly durations: readonly {
    readonly direction: 'edge' | 'egress' | 'ingress';
    readonly source: string;
    readonly destination: string;
    readonly route: string;
    readonly buckets: readonly number[];
    readonly sum: number;
    readonly requestBytes: number;
    readonly responseBytes: number;
  }[];
  readonly activeRequests: number;
  readonly connections: readonly { readonly listener: string; readonly open: number }[];
  readonly retries: readonly { readonly destination: string; readonly count: number }[];
  /** Endpoints as this worker sees them: passively ejected or not. */
  readonly endpoints: readonly {
    readonly service: string;
    readonly instance: string;
    readonly ejected: boolean;
  }[];
}

export interface WorkerState {
  readonly pid: number;
  readonly revision: number;
  readonly openConnections: number;
  readonly meshConnections: readonly {
    readonly side: 'caller' | 'callee';
    readonly source: string;
    readonly destination: string;
    readonly peer: string;
    readonly openedAt: string;
    readonly notAfter: string;
    readonly streams: number;
  }[];
}

export interface ExplainRequest {
  readonly method: string;
  /** Absolute, or a path with the host among the headers. */
  readonly url: string;
  /** Calling service; absent: the node itself. */
  readonly from: string | undefined;
  /** Edge gateway it arrives at; absent: an egress listener. */
  readonly gateway: string | undefined;
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** Where a request would go and why, from the live tables and by the data path's own code. */
export interface Explanation {
  readonly request: {
    readonly method: string;
    readonly host: string;
    readonly path: string;
    readonly source: string;
  };
  /** Each route that was considered, in order, with the first thing that did not match; the chosen one has none. */
  readonly considered: readonly {
    readonly route: string;
    readonly matched: boolean;
    readonly why: string;
  }[];
  readonly route: string | undefined;
  readonly destinations: readonly {
    readonly service: string;
    readonly subset: string | undefined;
    /** Percent of the requests. */
    readonly share: number;
    readonly authorised: { readonly allowed: boolean; readonly why: string };
    readonly endpoints: readonly {
      readonly instance: string;
      readonly node: string;
      readonly address: string;
      readonly weight: number;
      readonly usable: boolean;
      /** `passing`, or why it gets nothing. */
      readonly why: string;
    }[];
  }[];
  /** Status and reason when it would fail now: `404 NR`. */
  readonly outcome: string;
}
