import type { Address } from '#kit/address.ts';
import type { Check } from '../../registry/documents/types.ts';

/** The gateway's file (`/etc/gatemesh/gateway.yaml`) after parsing: defaults filled in, durations in ms, addresses parsed. */
export interface GatewayConfig {
  readonly node: string;
  readonly zone: string;
  /** Absolute; keys, certificates and the last-known-good snapshot lie here (0700). */
  readonly dataDir: string;
  /** Data-plane processes, at least 1. */
  readonly workers: number;
  readonly registry: RegistryConfig;
  /** Absent with the embedded registry: then the CA runs inside. */
  readonly identity?: IdentityConfig;
  readonly mesh: {
    /** Port 0: any free one. */
    readonly listen: Address;
    /** Where other gateways dial this one; absent: where it listens, known once it is bound. */
    readonly advertise?: Address;
  };
  readonly egress: {
    /** Any service, by Host or absolute-form. Loopback. */
    readonly listen: Address;
    readonly listeners: readonly EgressListener[];
  };
  readonly admin: {
    /** Loopback. */
    readonly listen: Address;
    /** Path of the Unix socket on which state can be changed. */
    readonly socket: string;
  };
  /** The edge gateway (`config/gateways/<gateway>`) this node also runs. */
  readonly gateway?: string;
  /** From the file itself, then from `services.d/` in order of file name. */
  readonly services: readonly LocalService[];
  readonly accessLog: boolean;
  /** Absent: what the environment says, else `info`. */
  readonly logLevel?: LogLevel;
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

export type RegistryConfig =
  | {
      readonly kind: 'etcd';
      /** At least one; `http://` or `https://`, all the same. */
      readonly endpoints: readonly string[];
      /** Without a slash at the end: `/gatemesh/v1`. */
      readonly prefix: string;
      readonly caFile?: string;
      /** With `keyFile`, or neither. */
      readonly certFile?: string;
      readonly keyFile?: string;
    }
  | {
      readonly kind: 'embedded';
      /** Path of the database, or `:memory:`. */
      readonly file: string;
    };

/** Has `tokenFile` or `files`, and `ca` unless there are `files`. */
export interface IdentityConfig {
  /** `https://host:port` of the CA; absent: nobody is asked, somebody else replaces the files. */
  readonly ca?: string;
  /** Pin of the CA's root: `sha256:` and 64 lower-case hex digits. */
  readonly caFingerprint?: string;
  readonly tokenFile?: string;
  /** Signed over SSH and put there beforehand. */
  readonly files?: {
    readonly certFile: string;
    readonly keyFile: string;
    readonly bundleFile: string;
  };
}

export interface EgressListener {
  readonly listen: Address;
  /** Every call goes to this service; absent: by Host or absolute-form. */
  readonly to?: string;
  /** Identity of the calls made here; absent: the node's. */
  readonly as?: string;
}

/** A service that runs on this machine; its gateway registers it, probes it and carries traffic to it. */
export interface LocalService {
  readonly service: string;
  /** Where the service itself listens. */
  readonly address: Address;
  readonly protocol: 'http' | 'http2' | 'grpc' | 'tcp';
  /** Integer >= 0; default 100. */
  readonly weight: number;
  readonly meta: Readonly<Record<string, string>>;
  readonly check: Check;
  /** Unix user the service runs as: calls of this user carry the service's identity. */
  readonly user?: string;
}
