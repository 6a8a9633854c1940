import type { Rejection, TypedDocument } from '../../registry/documents/types.ts';
import type { ExplainRequest, Explanation, WorkerMetrics } from '../ipc.ts';

/**
 * What the admin API shows of a running gateway; the supervisor implements it. Every call answers from memory, except
 * `explain` and `workerMetrics`, which ask the workers: those settle within 2 s and reject with a MeshError otherwise.
 */
export interface AdminSource {
  /** Tables loaded, certificate valid, workers up, not draining; `why` names each thing that is missing. */
  ready(): Readiness;
  status(): StatusReport;
  /** The effective tables: what is in force, not what lies in the registry. */
  config(): ConfigReport;
  /** By a worker, with the data path's own code. */
  explain(request: ExplainRequest): Promise<ExplainReport>;
  /** Added up over all workers, dead ones included, so that no counter ever goes back. */
  workerMetrics(): Promise<WorkerMetrics>;
  /** Health of the instances this gateway probes, or knows from the registry. */
  endpointHealth(): readonly EndpointHealth[];
  certificates(): readonly CertificateExpiry[];
  /** How to reach another node's admin API; undefined for a node that is not registered, or before enrolment. */
  nodeAdminTarget(node: string): NodeAdminTarget | undefined;
}

export interface Readiness {
  readonly ready: boolean;
  readonly why: readonly string[];
  /** What is missing and keeps only a part from working: services and edge gateways without a certificate. */
  readonly warnings: readonly string[];
}

/** `GET /explain` */
export interface ExplainReport extends Explanation {
  /** Documents that are rejected as they stand, and would perhaps say something else about this request. */
  readonly notInForce?: readonly Rejection[];
}

/** `GET /status`, as JSON: hence null where other types have undefined. Times are RFC 3339. */
export interface StatusReport {
  readonly node: string;
  readonly zone: string;
  readonly version: string;
  readonly trustDomain: string;
  /** Edge gateway this node runs. */
  readonly gateway: string | null;
  readonly uptimeSeconds: number;
  readonly draining: boolean;
  /** Why the gateway's file on disk, or one in services.d, is not in force since it was last read; null when it is. */
  readonly fileProblem: string | null;
  readonly registry: RegistryReport;
  readonly identities: readonly IdentityReport[];
  readonly workers: readonly WorkerReport[];
  /** Instances on this node. */
  readonly instances: readonly InstanceReport[];
  readonly listeners: readonly ListenerReport[];
  /** Every registered node, this one included. */
  readonly nodes: readonly NodeReport[];
}

export interface RegistryReport {
  /** `etcd at https://10.0.0.10:2379`. */
  readonly name: string;
  readonly connected: boolean;
  /** Last seen. */
  readonly revision: number;
  /** In force in every worker. */
  readonly applied: number;
  readonly source: 'registry' | 'disk' | 'none';
  /** Since the registry last proved that this is current; null: never since the start. */
  readonly staleSeconds: number | null;
  /** What a resync that is held back would have done. */
  readonly held: string | null;
  readonly rejected: readonly Rejection[];
}

export interface IdentityReport {
  /** SPIFFE id. */
  readonly identity: string;
  /** Null, like the end, while there is no certificate. */
  readonly notBefore: string | null;
  readonly notAfter: string | null;
  /** Null when nothing renews it (files put there by others). */
  readonly nextRenewal: string | null;
  readonly lastError: string | null;
}

export interface WorkerReport {
  readonly pid: number;
  readonly state: 'starting' | 'running' | 'draining' | 'down';
}

export interface InstanceReport {
  readonly service: string;
  readonly id: string;
  /** Where the service itself listens. */
  readonly address: string;
  readonly state: 'starting' | 'ready' | 'draining' | 'maintenance';
  readonly health: 'passing' | 'failing' | 'unknown';
  readonly since: string;
  /** What the last failed probe met: `connect ECONNREFUSED 127.0.0.1:8080`. */
  readonly lastError: string | null;
}

export interface ListenerReport {
  readonly id: string;
  readonly kind: 'edge' | 'egress' | 'mesh';
  readonly address: string;
  /** Null while it listens. */
  readonly error: string | null;
}

export interface NodeReport {
  readonly name: string;
  /** Its advertised mesh address. */
  readonly address: string;
  readonly zone: string;
  readonly version: string;
}

export interface ConfigReport {
  readonly revision: number;
  readonly source: 'registry' | 'disk' | 'none';
  /** By key, relative to the prefix. */
  readonly documents: Readonly<Record<string, TypedDocument>>;
}

export interface EndpointHealth {
  readonly service: string;
  readonly instance: string;
  readonly up: boolean;
}

export interface CertificateExpiry {
  readonly kind: 'leaf' | 'issuer' | 'root' | 'etcd';
  /** SPIFFE id of a leaf, else the subject's common name. */
  readonly identity: string;
  /** Unix ms. */
  readonly notAfterMs: number;
}

/**
 * Another node's mesh port, which hands ALPN `http/1.1` connections for SNI `<node>.node.<trustDomain>` to that node's
 * admin API when the caller proves a node identity.
 */
export interface NodeAdminTarget {
  readonly host: string;
  readonly port: number;
  readonly servername: string;
  /** SPIFFE id the peer must prove: `spiffe://<trustDomain>/node/<node>`. */
  readonly identity: string;
  /** Our own node certificate with its issuer, PEM. */
  readonly cert: string;
  readonly key: string;
  /** Trusted roots, PEM. */
  readonly ca: readonly string[];
}
