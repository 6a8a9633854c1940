import type { Rng } from '#kit/rng.ts';
import type {
  InstanceDocument,
  MeshDocument,
  NodeIntentDocument,
  ServiceDocument,
} from '../../../registry/documents/types.ts';
import { EndpointSet } from './endpoint-set.ts';
import { Endpoint } from './endpoint.ts';
import { hindranceOf, servesLocally } from './hindrance.ts';
import { outlierDetection, ServiceTarget, type ServiceLoad } from './service-target.ts';
import type { EjectionGroup } from './standing.ts';

/** What belongs to one service over all revisions. */
interface Service {
  readonly endpoints: Map<string, Endpoint>;
  readonly group: EjectionGroup;
  readonly load: ServiceLoad;
  /** Made on first use after a change. */
  target: ServiceTarget | undefined;
  local: EndpointSet | undefined;
}

/**
 * All services with their endpoints. An endpoint stays the same object while its key and addresses do; targets and sets
 * are made anew after a change, when they are next asked for: many changes between two requests cost one set.
 */
export class Fleet {
  readonly #localNode: string;
  readonly #rng: Rng;
  #mesh: MeshDocument | undefined;
  readonly #documents = new Map<string, ServiceDocument>();
  readonly #nodeIntents = new Map<string, NodeIntentDocument>();
  /** Those with a document or an instance. */
  readonly #services = new Map<string, Service>();
  readonly #endpoints = new Map<string, Endpoint>();

  constructor(localNode: string, rng: Rng) {
    this.#localNode = localNode;
    this.#rng = rng;
  }

  setMesh(mesh: MeshDocument | undefined): void {
    this.#mesh = mesh;
    for (const [name, service] of this.#services) this.#renew(name, service);
  }

  setService(name: string, document: ServiceDocument | undefined): void {
    if (document === undefined) this.#documents.delete(name);
    else this.#documents.set(name, document);
    this.#renew(name, this.#serviceAt(name));
  }

  setNodeIntent(node: string, intent: NodeIntentDocument | undefined): void {
    if (intent === undefined) this.#nodeIntents.delete(node);
    else this.#nodeIntents.set(node, intent);
    for (const endpoint of this.#endpoints.values()) {
      if (endpoint.node === node) this.#update(endpoint, endpoint.instance);
    }
  }

  /** @returns the endpoint this key no longer stands for: it left, or its addresses changed */
  setInstance(key: string, instance: InstanceDocument | undefined): Endpoint | undefined {
    const known = this.#endpoints.get(key);
    if (known !== undefined && instance !== undefined && isSamePlace(known.instance, instance)) {
      this.#update(known, instance);
      return undefined;
    }
    if (known !== undefined) this.#remove(known);
    if (instance !== undefined) this.#add(key, instance);
    return known;
  }

  target(name: string): ServiceTarget | undefined {
    const service = this.#services.get(name);
    if (service === undefined) return undefined;
    service.target ??= this.#makeTarget(name, service);
    return service.target;
  }

  #makeTarget(name: string, { endpoints, load }: Service): ServiceTarget {
    const document = this.#documents.get(name);
    return new ServiceTarget(name, this.#mesh, document, [...endpoints.values()], load);
  }

  /** Instances of this node that requests from the mesh may go to. */
  local(name: string): EndpointSet | undefined {
    const service = this.#services.get(name);
    if (service === undefined) return undefined;
    service.local ??= new EndpointSet(
      [...service.endpoints.values()].filter(({ node }) => node === this.#localNode),
      ({ instance }) => servesLocally(instance),
    );
    return service.local;
  }

  endpoints(): Iterable<Endpoint> {
    return this.#endpoints.values();
  }

  #serviceAt(name: string): Service {
    let service = this.#services.get(name);
    if (service === undefined) {
      const settings = outlierDetection(this.#mesh, this.#documents.get(name));
      service = {
        endpoints: new Map(),
        group: { settings, size: 0, ejected: 0, rng: this.#rng },
        load: { requests: 0 },
        target: undefined,
        local: undefined,
      };
      this.#services.set(name, service);
    }
    return service;
  }

  /** After its settings changed. */
  #renew(name: string, service: Service): void {
    service.group.settings = outlierDetection(this.#mesh, this.#documents.get(name));
    this.#forget(name, service);
  }

  #forget(name: string, service: Service): void {
    service.target = undefined;
    service.local = undefined;
    if (service.endpoints.size === 0 && !this.#documents.has(name)) this.#services.delete(name);
  }

  #add(key: string, instance: InstanceDocument): void {
    const service = this.#serviceAt(instance.service);
    const hindrance = hindranceOf(instance, this.#nodeIntents.get(instance.node));
    const endpoint = new Endpoint(key, instance, hindrance, service.group);
    service.endpoints.set(key, endpoint);
    this.#endpoints.set(key, endpoint);
    if (hindrance === undefined) service.group.size++;
    this.#forget(endpoint.service, service);
  }

  #remove(endpoint: Endpoint): void {
    const service = this.#serviceAt(endpoint.service);
    service.endpoints.delete(endpoint.key);
    this.#endpoints.delete(endpoint.key);
    if (endpoint.hindrance === undefined) service.group.size--;
    endpoint.standing.reset();
    this.#forget(endpoint.service, service);
  }

  #update(endpoint: Endpoint, instance: InstanceDocument): void {
    const service = this.#serviceAt(endpoint.service);
    const hindered = endpoint.hindrance !== undefined;
    const hindrance = hindranceOf(instance, this.#nodeIntents.get(instance.node));
    endpoint.update(instance, hindrance);
    if (hindered && hindrance === undefined) {
      service.group.size++;
      // Its own gateway has found it well: what its answers said before is history.
      endpoint.standing.reset();
    } else if (!hindered && hindrance !== undefined) {
      service.group.size--;
      endpoint.standing.reset();
    }
    this.#forget(endpoint.service, service);
  }
}

function isSamePlace(a: InstanceDocument, b: InstanceDocument): boolean {
  return a.address === b.address && a.app === b.app && a.protocol === b.protocol;
}
