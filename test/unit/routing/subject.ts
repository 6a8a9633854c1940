import type {
  InstanceDocument,
  IntentionDocument,
  NodeIntentDocument,
  RouteDocument,
  ServiceDocument,
  TypedDocument,
} from '../../../registry/documents/types.ts';
import type { Endpoint } from '../../../gateway/worker/balance/endpoint.ts';
import { EGRESS } from '../../../gateway/worker/routing/table.ts';
import { Tables } from '../../../gateway/worker/tables.ts';
import { instance } from '../balance/simulation.ts';
import { request } from './routes.ts';

export type Entry = readonly [key: string, document: TypedDocument];

/** Entries of a registry change, by what they hold. */
export const put = {
  instance(id: string, change: Partial<InstanceDocument> = {}): Entry {
    const document = instance(id, change);
    const key = `nodes/${document.node}/instances/${document.service}/${id}`;
    return [key, { kind: 'instances', document }];
  },
  service(name: string, change: Partial<ServiceDocument> = {}): Entry {
    return [
      `config/services/${name}`,
      { kind: 'services', document: { name, subsets: {}, ...change } },
    ];
  },
  route(document: RouteDocument): Entry {
    return [`config/routes/${document.name}`, { kind: 'routes', document }];
  },
  intention(name: string, change: Partial<IntentionDocument> = {}): Entry {
    const document: IntentionDocument = {
      name,
      mode: 'enforce',
      allow: [],
      deny: [],
      default: 'deny',
      ...change,
    };
    return [`config/intentions/${name}`, { kind: 'intentions', document }];
  },
  nodeIntent(name: string, change: Partial<NodeIntentDocument> = {}): Entry {
    const document = { name, maintenance: false, ...change };
    return [`config/nodes/${name}`, { kind: 'node-intents', document }];
  },
  mesh(defaults: object, defaultIntention: 'allow' | 'deny' = 'allow'): Entry {
    const document = { trustDomain: 'mesh.internal', defaultIntention, defaults };
    return ['config/mesh', { kind: 'mesh', document }];
  },
};

/** Tables of node vm-a, and the revisions put into them. */
export class Subject {
  readonly tables = new Tables({
    trustDomain: 'mesh.internal',
    localNode: 'vm-a',
    rng: () => 0,
  });
  readonly removed: string[] = [];
  #revision = 0;

  constructor(...entries: readonly Entry[]) {
    this.tables.onEndpointRemoved(({ key }) => this.removed.push(key));
    this.change({ put: entries, reset: true });
  }

  change(change: { put?: readonly Entry[]; deleted?: readonly string[]; reset?: boolean }): void {
    const revision = ++this.#revision;
    this.tables.apply({ revision, put: [], deleted: [], reset: false, ...change });
  }

  usable(service: string, subset?: string): readonly string[] {
    const { endpoints } = this.tables.service(service)!.endpoints(subset);
    return endpoints.map(({ instance: { id } }) => id);
  }

  endpoint(id: string): Endpoint {
    return [...this.tables.endpoints()].find(({ instance: at }) => at.id === id)!;
  }

  resolve(line: string, scope = EGRESS): string | undefined {
    const resolution = this.tables.resolve(scope, '', request(line));
    if (resolution === undefined) return undefined;
    return resolution.route?.name ?? `service ${resolution.destinations[0]!.service}`;
  }

  decides(destination: string, service = 'web'): boolean {
    const identity = `spiffe://mesh.internal/svc/${service}`;
    return this.tables.authorise(destination, identity, request(`GET ${destination}/`)).allowed;
  }
}
