import { formatAddress, type Address } from '#kit/address.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import type { Log } from '#kit/log.ts';
import type { Rng } from '#kit/rng.ts';
import { formatIdentity, type Identity, type Svid } from '../../ca/identity.ts';
import { configKey, instanceKey } from '../../registry/documents/keys.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../registry/documents/service.ts';
import type {
  DocumentKind,
  DocumentKinds,
  InstanceDocument,
  StatusDocument,
  TypedDocument,
} from '../../registry/documents/types.ts';
import type { RegistryChange } from '../../registry/view-types.ts';
import type { RegistryView } from '../../registry/view.ts';
import type { GatewayConfig, LocalService } from '../config.ts';
import { probe } from '../health/probe.ts';
import { Prober, type ProbedHealth } from '../health/prober.ts';
import type { EdgeListeners } from './edge-listeners.ts';
import type { IdentitySource } from './identity-source.ts';
import { withOwnInstances } from './own-instances.ts';
import { Publisher, type LeasedKeys } from './publisher.ts';
import { desiredRegistration, instanceId, type LocalInstance } from './registration.ts';
import { uidOf } from './unix-users.ts';
import type { Workers } from './workers.ts';

/**
 * Told in the node's status: it is written together with the registration, and etcd takes no request over 1.5 MB. Ten
 * thousand routes to a service that was not there yet kept the node that runs it from ever registering.
 */
const MOST_REJECTIONS = 100;
/** Certificates run out, and edge certificates are replaced on disk, without anyone saying so. */
const LOOK_AGAIN_MS = 30_000;

export interface SupervisorParts {
  readonly config: GatewayConfig;
  readonly version: string;
  /** Where other gateways dial this one. */
  readonly advertise: Address;
  readonly trustDomain: string;
  readonly workers: Workers;
  readonly edge: EdgeListeners;
  readonly view: RegistryView;
  readonly keys: LeasedKeys;
  readonly identity: IdentitySource;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
}

/** An instance on this machine, as the admin API shows it. */
export interface LocalInstanceState {
  readonly instance: LocalInstance;
  readonly state: InstanceDocument['state'];
  readonly probed: ProbedHealth;
  readonly since: string | undefined;
}

/**
 * Holds the parts of a running gateway together: what the registry says goes to workers and edge listeners, what
 * this node is (instances, their health, its certificates) goes to the registry.
 */
export class Supervisor {
  readonly #parts: SupervisorParts;
  readonly #prober: Prober;
  readonly #publisher: Publisher;
  readonly #startedAt: number;
  #config: GatewayConfig;
  #registered = false;
  #draining = false;
  #lastChange = 0;
  #appliedAtMs: number;
  #refused = '';
  #fileProblem: string | undefined;
  #cancelLook: Cancel = () => {};
  #unsubscribe: readonly Cancel[] = [];

  constructor(parts: SupervisorParts) {
    this.#parts = parts;
    this.#config = parts.config;
    this.#startedAt = parts.clock.now();
    this.#appliedAtMs = parts.clock.wallMs();
    this.#publisher = new Publisher(parts.keys, parts.clock);
    this.#prober = new Prober({
      clock: parts.clock,
      rng: parts.rng,
      probe,
      onChange: ({ id }, { health, lastError }) => {
        parts.log.info({ instance: id, health, problem: lastError }, 'health changed');
        this.#register();
      },
    });
  }

  /** Keeps everything in step from now on. */
  start(): void {
    const { view, identity } = this.#parts;
    this.#unsubscribe = [
      view.onChange((change) => this.#onChange(change)),
      view.onState(() => this.#statusChanged()),
      identity.onMaterial(() => this.#onIdentity()),
    ];
    this.#followServices();
    this.#lookAgain();
  }

  /** Tells the registry of this node from now on. */
  register(): void {
    this.#registered = true;
    this.#register();
    this.#statusChanged();
  }

  stop(): void {
    for (const cancel of this.#unsubscribe) cancel();
    this.#cancelLook();
    this.#prober.stop();
    this.#publisher.stop();
  }

  get config(): GatewayConfig {
    return this.#config;
  }

  get draining(): boolean {
    return this.#draining;
  }

  get uptimeMs(): number {
    return this.#parts.clock.now() - this.#startedAt;
  }

  /** Registry revision in force in every worker: the view's own when no later change concerns them. */
  get applied(): number {
    const { workers, view } = this.#parts;
    return workers.applied === this.#lastChange ? view.state.revision : workers.applied;
  }

  get instances(): readonly LocalInstanceState[] {
    const byId = new Map(
      this.#desired().instances.map(([key, document]) => [key, document.state] as const),
    );
    return this.#localInstances().map((instance) => {
      const key = instanceKey(this.#config.node, instance.service, instance.id);
      return {
        instance,
        state: byId.get(key) ?? 'maintenance',
        probed: this.#prober.healthOf(instance.id),
        since: this.#publisher.since(key),
      };
    });
  }

  /** The workers have these tables in force. */
  onApplied(): void {
    this.#appliedAtMs = this.#parts.clock.wallMs();
    this.#statusChanged();
  }

  /** Others are asked to send nothing new here; what comes is still served. */
  drain(): void {
    this.#draining = true;
    this.#register();
  }

  /** The services that run here from now on. */
  setServices(services: GatewayConfig['services']): void {
    this.#config = { ...this.#config, services };
    this.#followServices();
  }

  /** Why the gateway's file, as it is on disk now, is not what runs; undefined when it is. */
  get fileProblem(): string | undefined {
    return this.#fileProblem;
  }

  setFileProblem(problem: string | undefined): void {
    this.#fileProblem = problem;
  }

  /** Certificate files of edge listeners may have been replaced. */
  lookAtFiles(): void {
    this.#updateEdge();
  }

  #followServices(): void {
    const { identity } = this.#parts;
    this.#prober.setTargets(
      this.#config.services.map((local) => ({
        id: this.#idOf(local),
        address: local.address,
        check: local.check,
      })),
    );
    identity.setWanted(wantedIdentities(this.#config, this.#parts.trustDomain));
    void this.#followUsers();
    this.#register();
  }

  /** A user that does not exist (yet) leaves its calls with the node's identity, which is said. */
  async #followUsers(): Promise<void> {
    const { services } = this.#config;
    const serviceByUid = new Map<number, string>();
    for (const { user, service } of services) {
      if (user === undefined) continue;
      const uid = await uidOf(user);
      if (uid !== undefined) serviceByUid.set(uid, service);
      else {
        this.#parts.log.warn(
          { user, service },
          'no such Unix user; its calls carry the identity of the node until it exists and the gateway is reloaded',
        );
      }
    }
    if (services === this.#config.services) this.#parts.workers.setCallers(serviceByUid);
  }

  #onChange(change: RegistryChange): void {
    this.#lastChange = change.revision;
    this.#parts.workers.applyChange(this.#ofThisMachine(change));
    const { gateway, node } = this.#config;
    const keys = [...change.put.map(([key]) => key), ...change.deleted];
    if (change.reset || keys.includes(configKey('node-intents', node))) this.#register();
    if (change.reset || keys.includes('config/mesh')) this.#checkTrustDomain();
    const isEdge = (key: string): boolean =>
      key === `config/gateways/${gateway}` || key.startsWith('config/certificates/');
    if (gateway !== undefined && (change.reset || keys.some(isEdge))) this.#updateEdge();
  }

  /** The whole effective tables, for a worker that starts now. */
  tables(): RegistryChange {
    const { revision, documents } = this.#parts.view.state;
    return this.#ofThisMachine({ revision, reset: true, put: [...documents], deleted: [] });
  }

  #ofThisMachine(whole: RegistryChange): RegistryChange {
    const { advertise, log } = this.#parts;
    const { node } = this.#config;
    const instances = this.#localInstances();
    const { change, foreign } = withOwnInstances(whole, { node, advertise, instances });
    if (foreign.length > 0) {
      log.warn(
        { keys: foreign },
        'not ours, and not used: instances of this node that its file does not name',
      );
    }
    return change;
  }

  /** Every certificate here carries the trust domain, so it cannot change under a running gateway. */
  #checkTrustDomain(): void {
    const { trustDomain, view, log } = this.#parts;
    const wanted = trustDomainOf(view.state.documents.get('config/mesh'));
    if (wanted === trustDomain) return;
    log.error(
      { wanted, running: trustDomain },
      'config/mesh names another trust domain than the certificates here, which stay in use; to move this gateway, stop it, remove the folder identity in its dataDir and give it a token of the other CA',
    );
  }

  #onIdentity(): void {
    const material = this.#parts.identity.material;
    if (material !== undefined) this.#parts.workers.setIdentity(material);
    this.#register();
    this.#statusChanged();
  }

  #updateEdge(): void {
    const { gateway } = this.#config;
    if (gateway === undefined) return;
    void this.#parts.edge.update(this.#document('gateways', gateway), (name) =>
      this.#document('certificates', name),
    );
  }

  #register(): void {
    if (!this.#registered) return;
    const desired = this.#desired();
    const refused = desired.refused.join(', ');
    if (refused !== this.#refused && refused !== '') {
      this.#parts.log.warn(
        { services: refused },
        `not registered: config/nodes/${this.#config.node} does not allow these services here`,
      );
    }
    this.#refused = refused;
    this.#publisher.register(desired);
  }

  #desired(): ReturnType<typeof desiredRegistration> {
    const { version, advertise, trustDomain } = this.#parts;
    const { node, zone, gateway } = this.#config;
    return desiredRegistration({
      node,
      zone,
      version,
      advertise: formatAddress(advertise),
      gateway,
      instances: this.#localInstances(),
      intent: this.#document('node-intents', node),
      draining: this.#draining,
      healthOf: (id) => this.#prober.healthOf(id).health,
      hasIdentity: (service) =>
        this.svid({ trustDomain, kind: 'svc', name: service }) !== undefined,
    });
  }

  #localInstances(): readonly LocalInstance[] {
    return this.#config.services.map((local) => ({
      service: local.service,
      id: this.#idOf(local),
      app: formatAddress(local.address),
      protocol: local.protocol,
      weight: local.weight,
      meta: local.meta,
    }));
  }

  #idOf({ service, address }: LocalService): string {
    return instanceId(this.#config.node, service, address.port);
  }

  /** Our certificate for an identity, while it is valid. */
  svid(identity: Identity): Svid | undefined {
    const svid = this.#parts.identity.material?.svids.get(formatIdentity(identity));
    const isValid = svid !== undefined && svid.notAfterMs > this.#parts.clock.wallMs();
    return isValid ? svid : undefined;
  }

  #document<K extends DocumentKind>(
    kind: K & Exclude<DocumentKind, 'instances' | 'nodes'>,
    name: string,
  ): DocumentKinds[K] | undefined {
    const typed = this.#parts.view.state.documents.get(configKey(kind, name));
    return typed?.kind === kind ? (typed.document as DocumentKinds[K]) : undefined;
  }

  #statusChanged(): void {
    if (!this.#registered) return;
    this.#publisher.statusChanged(this.#config.node, () => this.#status());
  }

  #status(): Omit<StatusDocument, 'node'> {
    const { view, version, identity } = this.#parts;
    const { revision, source, rejected } = view.state;
    const ends = [...(identity.material?.svids.values() ?? [])].map(({ notAfterMs }) => notAfterMs);
    return {
      revision,
      applied: this.applied,
      appliedAt: new Date(this.#appliedAtMs).toISOString(),
      source,
      version,
      rejected: rejected.slice(0, MOST_REJECTIONS),
      certNotAfter: ends.length === 0 ? null : new Date(Math.min(...ends)).toISOString(),
    };
  }

  #lookAgain(): void {
    this.#cancelLook = this.#parts.clock.after(LOOK_AGAIN_MS, () => {
      this.#register();
      this.#updateEdge();
      this.#lookAgain();
    });
  }
}

/** One certificate for the node, one for each service that runs or calls here, one for its edge gateway. */
export function wantedIdentities(config: GatewayConfig, trustDomain: string): readonly Identity[] {
  const { node, gateway, services, egress } = config;
  const callers = egress.listeners.flatMap(({ as }) => (as === undefined ? [] : [as]));
  const names = new Set([...services.map(({ service }) => service), ...callers]);
  return [
    { trustDomain, kind: 'node', name: node },
    ...[...names].map((name): Identity => ({ trustDomain, kind: 'svc', name })),
    ...(gateway === undefined ? [] : [{ trustDomain, kind: 'edge', name: gateway } as const]),
  ];
}

/** What `config/mesh` says, or the default without such a document. */
export function trustDomainOf(mesh: TypedDocument | undefined): string {
  return mesh?.kind === 'mesh' ? mesh.document.trustDomain : DEFAULT_TRUST_DOMAIN;
}
