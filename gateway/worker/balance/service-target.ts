import type {
  MeshDocument,
  OutlierDetection,
  ServiceDocument,
  ServiceSettings,
} from '../../../registry/documents/types.ts';
import { EndpointSet } from './endpoint-set.ts';
import type { Endpoint } from './endpoint.ts';

/** What holds where neither the service nor the mesh says anything (peers.md 3.2). */
const DEFAULTS = {
  timeoutMs: 15_000,
  connectTimeoutMs: 2_000,
  idleTimeoutMs: 300_000,
  retryAttempts: 1,
} as const;

const OUTLIER_DEFAULTS: OutlierDetection = {
  consecutive: 5,
  baseMs: 10_000,
  maxMs: 300_000,
  maxEjected: 50,
};

/** The service's own settings, then those of the mesh, then the defaults. */
export function outlierDetection(
  mesh: MeshDocument | undefined,
  service: ServiceDocument | undefined,
): OutlierDetection {
  return {
    ...OUTLIER_DEFAULTS,
    ...mesh?.defaults.outlierDetection,
    ...service?.outlierDetection,
  };
}

/** Requests under way to a service; belongs to it over all revisions. */
export interface ServiceLoad {
  requests: number;
}

/** A service at one revision: its settings, with all defaults resolved, and its endpoints. */
export class ServiceTarget {
  readonly name: string;
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** Further tries after the first. */
  readonly retryAttempts: number;
  /** Its callers open connections, not requests; undefined while nobody says. */
  readonly isTcp: boolean | undefined;
  readonly outlier: OutlierDetection;
  /** All that are registered, whether they take traffic or not. */
  readonly members: readonly Endpoint[];
  readonly load: ServiceLoad;
  readonly #statedTimeoutMs: number | undefined;
  readonly #subsets: ServiceDocument['subsets'];
  readonly #sets = new Map<string | undefined, EndpointSet>();

  constructor(
    name: string,
    mesh: MeshDocument | undefined,
    document: ServiceDocument | undefined,
    members: readonly Endpoint[],
    load: ServiceLoad,
  ) {
    const own: ServiceSettings = document ?? {};
    const shared: ServiceSettings = mesh?.defaults ?? {};
    this.name = name;
    this.#statedTimeoutMs = own.timeoutMs;
    this.timeoutMs = own.timeoutMs ?? shared.timeoutMs ?? DEFAULTS.timeoutMs;
    this.connectTimeoutMs =
      own.connectTimeoutMs ?? shared.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs;
    this.idleTimeoutMs = own.idleTimeoutMs ?? shared.idleTimeoutMs ?? DEFAULTS.idleTimeoutMs;
    this.retryAttempts = own.retry?.attempts ?? shared.retry?.attempts ?? DEFAULTS.retryAttempts;
    const protocol = document?.protocol ?? members[0]?.instance.protocol;
    this.isTcp = protocol === undefined ? undefined : protocol === 'tcp';
    this.outlier = outlierDetection(mesh, document);
    this.members = members;
    this.load = load;
    this.#subsets = document?.subsets ?? {};
  }

  /**
   * How long the answer's head may take, in ms. A gRPC server may answer its client's stream at the very end, so
   * only what the service's own document says cuts it; else Infinity.
   */
  timeoutFor(isGrpc: boolean): number {
    return isGrpc ? (this.#statedTimeoutMs ?? Infinity) : this.timeoutMs;
  }

  /** Whom to pick from; empty when nobody takes traffic or the subset is not defined. Built on first use. */
  endpoints(subset: string | undefined): EndpointSet {
    let set = this.#sets.get(subset);
    if (set === undefined) {
      set = new EndpointSet(this.membersOf(subset), takesRequests);
      // Only names that are defined are kept: a wrong one in a route must not fill this map.
      if (subset === undefined || this.hasSubset(subset)) this.#sets.set(subset, set);
    }
    return set;
  }

  hasSubset(subset: string): boolean {
    return Object.hasOwn(this.#subsets, subset);
  }

  membersOf(subset: string | undefined): readonly Endpoint[] {
    if (subset === undefined) return this.members;
    if (!this.hasSubset(subset)) return [];
    const wanted = Object.entries(this.#subsets[subset]!);
    return this.members.filter(({ instance }) =>
      wanted.every(([key, value]) => metaOf(instance.meta, key) === value),
    );
  }
}

function takesRequests({ hindrance }: Endpoint): boolean {
  return hindrance === undefined;
}

function metaOf(meta: Readonly<Record<string, string>>, key: string): string | undefined {
  return meta[key.startsWith('meta.') ? key.slice('meta.'.length) : key];
}
