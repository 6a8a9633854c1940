import type { Rng } from '#kit/rng.ts';
import type {
  IntentionDocument,
  MeshDocument,
  RouteDocument,
  TcpRouteDocument,
  TypedDocument,
} from '../../registry/documents/types.ts';
import type { RegistryChange } from '../../registry/view-types.ts';
import type { Explanation, ExplainRequest } from '../ipc.ts';
import type { EndpointSet } from './balance/endpoint-set.ts';
import type { Endpoint } from './balance/endpoint.ts';
import { Fleet } from './balance/fleet.ts';
import type { ServiceTarget } from './balance/service-target.ts';
import { implicitResolution, type Resolution } from './routing/compiled-route.ts';
import { explain } from './routing/explain.ts';
import { serviceNamed } from './routing/host-index.ts';
import { Authoriser, type AuthorisationDecision } from './routing/intentions.ts';
import type { RequestView } from './routing/request-view.ts';
import { TcpRouteTable } from './routing/tcp-routes.ts';
import { buildRouteTable, EGRESS, type Considered, type RouteTable } from './routing/table.ts';

export interface TablesOptions {
  readonly trustDomain: string;
  readonly localNode: string;
  /** Spreads ejections over time. */
  readonly rng: Rng;
}

/** The intention for destinations that have none of their own. */
const ANY_DESTINATION = '*';

/**
 * What this worker routes by: the documents of one registry revision, made ready. A revision is put in force whole; what
 * it did not touch stays as it was, endpoints with all they have learnt included. Nothing here allocates per request
 * once a service, host or destination has been asked for.
 */
export class Tables {
  readonly trustDomain: string;
  readonly localNode: string;
  #revision = 0;
  #mesh: MeshDocument | undefined;
  readonly #documents = new Map<string, TypedDocument>();
  readonly #routeDocuments = new Map<string, RouteDocument>();
  readonly #tcpRouteDocuments = new Map<string, TcpRouteDocument>();
  readonly #intentions = new Map<string, IntentionDocument>();
  readonly #fleet: Fleet;
  #routes: RouteTable = buildRouteTable([]);
  #areRoutesStale = false;
  /** Made anew after a change, when it is next asked for. */
  #tcpRoutes: TcpRouteTable | undefined;
  /** By destination service that exists. */
  readonly #authorisers = new Map<string, Authoriser>();
  /** By host as it is asked for, of services that exist. */
  readonly #implicit = new Map<string, Resolution>();
  readonly #onRemoved: ((endpoint: Endpoint) => void)[] = [];

  constructor({ trustDomain, localNode, rng }: TablesOptions) {
    this.trustDomain = trustDomain;
    this.localNode = localNode;
    this.#fleet = new Fleet(localNode, rng);
  }

  /** 0 before the first `apply`. */
  get revision(): number {
    return this.#revision;
  }

  /** Called for each endpoint that left the registry or moved, once the tables without it are in force. */
  onEndpointRemoved(callback: (endpoint: Endpoint) => void): void {
    this.#onRemoved.push(callback);
  }

  apply(change: RegistryChange): void {
    const removed: Endpoint[] = [];
    const gone = new Set(change.deleted);
    if (change.reset) {
      for (const key of this.#documents.keys()) gone.add(key);
      for (const [key] of change.put) gone.delete(key);
    }
    for (const key of gone) {
      const document = this.#documents.get(key);
      this.#documents.delete(key);
      if (document !== undefined) this.#set(key, document, false, removed);
    }
    for (const [key, document] of change.put) {
      this.#documents.set(key, document);
      this.#set(key, document, true, removed);
    }
    if (this.#areRoutesStale) {
      this.#routes = buildRouteTable(this.#routeDocuments.values(), this.#routes);
      this.#areRoutesStale = false;
    }
    if (gone.size > 0) {
      // They hold nothing but services that exist, so that no caller can fill them.
      this.#authorisers.clear();
      this.#implicit.clear();
    }
    this.#revision = change.revision;
    for (const endpoint of removed) for (const callback of this.#onRemoved) callback(endpoint);
  }

  #set(key: string, typed: TypedDocument, isPresent: boolean, removed: Endpoint[]): void {
    switch (typed.kind) {
      case 'mesh':
        this.#mesh = isPresent ? typed.document : undefined;
        this.#fleet.setMesh(this.#mesh);
        this.#authorisers.clear();
        break;
      case 'services':
        this.#fleet.setService(typed.document.name, isPresent ? typed.document : undefined);
        break;
      case 'node-intents':
        this.#fleet.setNodeIntent(typed.document.name, isPresent ? typed.document : undefined);
        break;
      case 'instances': {
        const left = this.#fleet.setInstance(key, isPresent ? typed.document : undefined);
        if (left !== undefined) removed.push(left);
        break;
      }
      case 'routes':
        if (isPresent) this.#routeDocuments.set(key, typed.document);
        else this.#routeDocuments.delete(key);
        this.#areRoutesStale = true;
        break;
      case 'tcp-routes':
        if (isPresent) this.#tcpRouteDocuments.set(key, typed.document);
        else this.#tcpRouteDocuments.delete(key);
        this.#tcpRoutes = undefined;
        break;
      case 'intentions':
        if (isPresent) this.#intentions.set(typed.document.name, typed.document);
        else this.#intentions.delete(typed.document.name);
        this.#authorisers.clear();
        break;
      case 'gateways':
      case 'certificates':
      case 'nodes':
        // The supervisor's: listeners and where they are bound.
        break;
    }
  }

  /**
   * Where a request goes: by the first route that matches, else for egress to the service its host names.
   *
   * @param scope EGRESS, else the edge gateway's name
   * @param source calling service, or ''
   * @returns undefined: 404 NR
   */
  resolve(scope: string, source: string, request: RequestView): Resolution | undefined {
    const route = this.#routes.match(scope, source, request);
    if (route !== undefined) return route.resolution;
    if (scope !== EGRESS) return undefined;
    return this.#implicit.get(request.host) ?? this.#makeImplicit(request.host);
  }

  #makeImplicit(host: string): Resolution | undefined {
    const service = serviceNamed(host);
    if (this.#fleet.target(service) === undefined) return undefined;
    const resolution = implicitResolution(service);
    this.#implicit.set(host, resolution);
    return resolution;
  }

  /**
   * Where a TCP connection goes that came in at an edge gateway.
   *
   * @param sni lower case; '' when there is none
   * @returns undefined: no route answers for this port and name
   */
  resolveTcp(gateway: string, port: number, sni: string): Resolution | undefined {
    this.#tcpRoutes ??= new TcpRouteTable(this.#tcpRouteDocuments.values());
    return this.#tcpRoutes.match(gateway, port, sni);
  }

  /** What `resolve` went through, for people. */
  considered(scope: string, source: string, request: RequestView): readonly Considered[] {
    return this.#routes.considered(scope, source, request);
  }

  /** A service exists when it has a document or an instance. */
  service(name: string): ServiceTarget | undefined {
    return this.#fleet.target(name);
  }

  /** Instances of this node that take requests arriving over the mesh: draining ones too. */
  local(service: string): EndpointSet | undefined {
    return this.#fleet.local(service);
  }

  localInstances(service: string): readonly Endpoint[] {
    return this.#fleet.local(service)?.endpoints ?? [];
  }

  /** Of all services, whether they take traffic or not; for metrics. */
  endpoints(): Iterable<Endpoint> {
    return this.#fleet.endpoints();
  }

  /**
   * Whether this caller may send this request: by the destination's own intention, else the one for `*`, else the
   * mesh's default. Deny rules come first, then allow rules, then the intention's default.
   *
   * @param sourceIdentity SPIFFE id, verified
   */
  authorise(
    destination: string,
    sourceIdentity: string,
    request: RequestView,
  ): AuthorisationDecision {
    const authoriser = this.#authorisers.get(destination) ?? this.#makeAuthoriser(destination);
    return authoriser.decide(sourceIdentity, request);
  }

  #makeAuthoriser(destination: string): Authoriser {
    const intention = this.#intentions.get(destination) ?? this.#intentions.get(ANY_DESTINATION);
    const authoriser = new Authoriser(destination, intention, this.#mesh, this.trustDomain);
    if (this.#fleet.target(destination) !== undefined) {
      this.#authorisers.set(destination, authoriser);
    }
    return authoriser;
  }

  /** @throws MeshError `bad_request` when it does not say a host and path */
  explain(request: ExplainRequest, nowMs: number): Explanation {
    return explain(this, request, nowMs);
  }
}
