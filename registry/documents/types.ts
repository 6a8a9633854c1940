/**
 * What every document is after parsing: short forms expanded, units in milliseconds and bytes,
 * defaults that do not depend on another document filled in. `undefined` means "not said here".
 */

/** `config/mesh`: defaults for everything. */
export interface MeshDocument {
  readonly trustDomain: string;
  /** Who may call a destination that no intention names. */
  readonly defaultIntention: 'allow' | 'deny';
  readonly defaults: ServiceSettings;
}

/** Passive ejection of an endpoint by what its answers say. */
export interface OutlierDetection {
  /** Connect errors and 5xx in a row that eject; 0 switches it off. Default 5. */
  readonly consecutive: number;
  /** First ejection; the n-th in a row lasts n times as long. Default 10 s. */
  readonly baseMs: number;
  /** Default 300 s. */
  readonly maxMs: number;
  /** Percent of a service's endpoints that may be out at once; one is always allowed. Default 50. */
  readonly maxEjected: number;
}

export interface Check {
  readonly kind: 'http' | 'tcp';
  /** Path asked for; only for `http`. */
  readonly path?: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Successes in a row that make a failing instance passing. */
  readonly rise: number;
  /** Failures in a row that make a passing instance failing. */
  readonly fall: number;
}

export interface ServiceSettings {
  readonly timeoutMs?: number;
  readonly connectTimeoutMs?: number;
  readonly idleTimeoutMs?: number;
  readonly retry?: RetrySettings;
  readonly outlierDetection?: Partial<OutlierDetection>;
}

export interface RetrySettings {
  /** Further tries after the first. */
  readonly attempts: number;
}

/** `config/services/<service>` */
export interface ServiceDocument extends ServiceSettings {
  readonly name: string;
  /** `meta.version` and `version` both name a key of the instance's meta; all must match. */
  readonly subsets: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Absent: what its instances register. */
  readonly protocol?: 'http' | 'tcp';
}

export interface Destination {
  readonly service: string;
  readonly subset?: string;
  /** Integer >= 0; the sum over a route's destinations is above 0. Default 1 (100 % for a single one). */
  readonly weight: number;
}

export type PathMatch =
  | { readonly kind: 'prefix'; readonly value: string }
  | { readonly kind: 'exact'; readonly value: string }
  | { readonly kind: 'regex'; readonly value: string };

/** `config/routes/<route>` */
export interface RouteDocument {
  readonly name: string;
  readonly enabled: boolean;
  readonly priority: number;
  /** Edge gateways it applies to; empty: internal, for egress listeners. */
  readonly gateways: readonly string[];
  /** Lower case: `shop.example.com`, `*.example.com`, or `*` for any. At least one. */
  readonly hosts: readonly string[];
  readonly path: PathMatch;
  /** Empty: any. */
  readonly methods: readonly string[];
  /** Lower-case header name to exact value. */
  readonly headers: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  /** Calling services it applies to; empty: any. */
  readonly sources: readonly string[];
  readonly to: readonly Destination[];
  readonly timeoutMs?: number;
  readonly retry?: RetrySettings;
}

/** `config/tcp-routes/<route>`: TCP connections that come in at edge gateways. */
export interface TcpRouteDocument {
  readonly name: string;
  readonly enabled: boolean;
  /** At least one. */
  readonly gateways: readonly string[];
  /** Of a listener of these gateways with protocol `tcp` or `tls-passthrough`. */
  readonly port: number;
  /** Server names asked for in the TLS ClientHello, lower case, exact or `*.example.com`; empty: any, or none at all. */
  readonly snis: readonly string[];
  readonly to: readonly Destination[];
}

/** One line of an intention's `allow` or `deny`. */
export interface IntentionRule {
  /** A service name, `*`, or a whole SPIFFE id. */
  readonly from: string;
  /** Empty: any. */
  readonly methods: readonly string[];
  readonly path?: PathMatch;
}

/** `config/intentions/<destination>`; `*` in the key names the document for any destination. */
export interface IntentionDocument {
  readonly name: string;
  /** `audit` logs what it would deny and lets it pass. */
  readonly mode: 'enforce' | 'audit';
  readonly allow: readonly IntentionRule[];
  readonly deny: readonly IntentionRule[];
  /** When no rule matches: default `deny` when there is an allow list, else `allow`. */
  readonly default: 'allow' | 'deny';
}

export interface GatewayListener {
  readonly port: number;
  /** Address to bind; default `0.0.0.0`. */
  readonly address: string;
  /** `tls-passthrough`: TLS that ends at the service; only the server name is read. */
  readonly protocol: 'http' | 'https' | 'tcp' | 'tls-passthrough';
  /** Names of `config/certificates/*`; the first is the default when no SNI matches. Only for `https`. */
  readonly certificates: readonly string[];
  readonly tlsMin: '1.2' | '1.3';
}

/** `config/gateways/<gateway>` */
export interface GatewayDocument {
  readonly name: string;
  readonly listeners: readonly GatewayListener[];
  /** CIDRs of proxies whose X-Forwarded-* are believed. */
  readonly trustedProxies: readonly string[];
}

/** `config/certificates/<name>`: never the key itself, only where it lies on the VM. */
export interface CertificateDocument {
  readonly name: string;
  /** SNI names it serves: `shop.example.com`, `*.example.com`. */
  readonly hosts: readonly string[];
  readonly certFile: string;
  readonly keyFile: string;
}

/** `config/nodes/<node>`: the operator's intent for a VM. */
export interface NodeIntentDocument {
  readonly name: string;
  readonly maintenance: boolean;
  readonly zone?: string;
  /** Services this node may register; absent: any its certificates name. */
  readonly services?: readonly string[];
}

/** `nodes/<node>`: written by that gateway under its lease. */
export interface NodeDocument {
  readonly name: string;
  /** Where other gateways dial it: the advertised mesh address. */
  readonly address: string;
  readonly zone: string;
  readonly version: string;
  /** Name of the edge gateway it runs, if any. */
  readonly gateway?: string;
}

/** How a service is spoken to by its own gateway; `http2` and `grpc` are HTTP/2 with prior knowledge. */
export type InstanceProtocol = 'http' | 'http2' | 'grpc' | 'tcp';

/** `nodes/<node>/instances/<service>/<id>`: same writer, same lease. */
export interface InstanceDocument {
  readonly node: string;
  readonly service: string;
  readonly id: string;
  /** The advertised mesh address of its gateway. */
  readonly address: string;
  /** Where the service itself listens, as its own gateway dials it. */
  readonly app: string;
  readonly protocol: InstanceProtocol;
  /** Relative to the other instances of the service; integer >= 0. Default 100. */
  readonly weight: number;
  readonly zone: string;
  readonly meta: Readonly<Record<string, string>>;
  /** Intent. */
  readonly state: 'starting' | 'ready' | 'draining' | 'maintenance';
  /** Measured. */
  readonly health: 'passing' | 'failing' | 'unknown';
  /** RFC 3339; when `state` or `health` last changed. */
  readonly since: string;
}

/** One document that is not in force as it stands in the registry. */
export interface Rejection {
  /** Relative to the prefix: `config/routes/shop`. */
  readonly key: string;
  readonly revision: number;
  /** JSON path of the first problem. */
  readonly path: string;
  /** All problems, one line each. */
  readonly error: string;
  /** The near miss of the first problem that has one. */
  readonly hint?: string;
  /** Revision of the version that stays in force; null when there is none. */
  readonly using: number | null;
}

/** `status/<node>`: same writer, same lease. */
export interface StatusDocument {
  readonly node: string;
  /** Registry revision last seen. */
  readonly revision: number;
  /** Registry revision in force in every worker. */
  readonly applied: number;
  readonly appliedAt: string;
  readonly source: 'registry' | 'disk' | 'none';
  readonly version: string;
  readonly rejected: readonly Rejection[];
  /** Earliest end of any certificate in use; null before enrolment. RFC 3339. */
  readonly certNotAfter: string | null;
}

/** Every kind with the type its keys hold. */
export interface DocumentKinds {
  readonly mesh: MeshDocument;
  readonly services: ServiceDocument;
  readonly routes: RouteDocument;
  readonly 'tcp-routes': TcpRouteDocument;
  readonly intentions: IntentionDocument;
  readonly gateways: GatewayDocument;
  readonly certificates: CertificateDocument;
  readonly 'node-intents': NodeIntentDocument;
  readonly nodes: NodeDocument;
  readonly instances: InstanceDocument;
}

export type DocumentKind = keyof DocumentKinds;

/** A parsed document with its kind; what the view hands on and the workers build their tables from. */
export type TypedDocument = {
  [K in DocumentKind]: { readonly kind: K; readonly document: DocumentKinds[K] };
}[DocumentKind];
