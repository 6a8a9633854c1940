import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { formatAddress, type Address } from '#kit/address.ts';
import { startProcess, untilReady, type RunningProcess } from '../../gateway/demo/processes.ts';
import type { StatusReport } from '../../gateway/admin/source.ts';
import { curl, curlJson } from './curl.ts';
import { startEtcd, type TestEtcd } from './etcd.ts';
import { eventually } from './eventually.ts';
import { ETCD_PREFIX, meshRegistry, type MeshRegistry } from './mesh-registry.ts';
import type { Origin, OriginKind } from './origins.ts';
import { freePorts, GATEMESH } from './processes.ts';
import { startCa, type TestCa } from './ca-process.ts';

const START_MS = 20_000;

export interface ServicePlan {
  /** The node it runs on. */
  readonly on: string;
  readonly version?: string;
  readonly origin: OriginKind;
}

/** Describes a mesh of real processes: `await mesh().node('vm-a').service('orders', {…}).start()`. */
export interface MeshBuilder {
  /** A gateway on the next address of 127.0.1.1, .2, .3. The first one also runs the edge gateway `public`. */
  node(name: string): MeshBuilder;
  /** One instance, run by its own origin on the node's address; give it twice for two instances. */
  service(name: string, plan: ServicePlan): MeshBuilder;
  /** An object under `config/`, there before the first gateway starts. */
  document(key: string, value: unknown): MeshBuilder;
  /** Life of the certificates: `60s`. Default: the CA's own. */
  leafTtl(duration: string): MeshBuilder;
  /** Where other gateways dial this node instead of its mesh port; for a relay in between. */
  advertise(node: string, through: (mesh: Address) => Promise<Address>): MeshBuilder;
  /** Everything is up, registered and answering when this resolves. */
  start(): Promise<Mesh>;
}

export interface Mesh {
  readonly folder: string;
  readonly trustDomain: string;
  readonly registry: MeshRegistry;
  readonly etcd: TestEtcd;
  readonly ca: TestCa;
  readonly nodes: readonly MeshNode[];
  node(name: string): MeshNode;
  /** The origin behind the instance of a service on a node. */
  origin(service: string, node: string): Origin;
  /** Ends everything it started, by pid, and removes the files; harmless when done twice. */
  stop(): Promise<void>;
}

export interface MeshNode {
  readonly name: string;
  readonly folder: string;
  readonly configFile: string;
  readonly mesh: Address;
  /** By Host; calls made here are the node's. */
  readonly egress: Address;
  /** Calls made here are `web`'s. Only the first node has it. */
  readonly webEgress: Address;
  readonly edge: Address;
  readonly admin: Address;
  readonly process: RunningProcess;
  /** Resolves when the process runs, which is before it is ready. */
  start(): Promise<void>;
  kill(): Promise<void>;
  stop(): Promise<void>;
  /** Its admin page. */
  status(): Promise<StatusReport>;
}

interface Plan {
  readonly nodes: string[];
  readonly services: (ServicePlan & { readonly name: string })[];
  readonly documents: [string, unknown][];
  readonly relays: Map<string, (mesh: Address) => Promise<Address>>;
  leafTtl: string | undefined;
}

export function mesh(): MeshBuilder {
  const plan: Plan = {
    nodes: [],
    services: [],
    documents: [],
    relays: new Map(),
    leafTtl: undefined,
  };
  const builder: MeshBuilder = {
    node(name) {
      plan.nodes.push(name);
      return builder;
    },
    service(name, service) {
      plan.services.push({ name, ...service });
      return builder;
    },
    document(key, value) {
      plan.documents.push([key, value]);
      return builder;
    },
    leafTtl(duration) {
      plan.leafTtl = duration;
      return builder;
    },
    advertise(node, through) {
      plan.relays.set(node, through);
      return builder;
    },
    async start() {
      const folder = await mkdtemp(join(tmpdir(), 'gatemesh-e2e-'));
      const running = new RunningMesh(folder, plan);
      try {
        await running.start();
      } catch (error) {
        await running.stop(true);
        throw error;
      }
      return running;
    },
  };
  return builder;
}

class RunningMesh implements Mesh {
  readonly folder: string;
  readonly trustDomain = 'mesh.internal';
  readonly nodes: Node[] = [];
  readonly #plan: Plan;
  readonly #origins = new Map<string, Origin>();
  etcd!: TestEtcd;
  ca!: TestCa;
  registry!: MeshRegistry;

  constructor(folder: string, plan: Plan) {
    this.folder = folder;
    this.#plan = plan;
  }

  node(name: string): Node {
    const found = this.nodes.find((node) => node.name === name);
    if (found === undefined) throw new Error(`the mesh has no node ${name}`);
    return found;
  }

  origin(service: string, node: string): Origin {
    const found = this.#origins.get(`${service}@${node}`);
    if (found === undefined) throw new Error(`there is no ${service} on ${node}`);
    return found;
  }

  async start(): Promise<void> {
    const { documents, services, leafTtl } = this.#plan;
    this.etcd = await startEtcd();
    this.registry = meshRegistry((...args) => this.etcd.etcdctl(...args), this.#plan.nodes);
    this.ca = await startCa(this.folder, {
      trustDomain: this.trustDomain,
      etcd: this.etcd.url,
      leafTtl,
    });

    for (const [i, name] of this.#plan.nodes.entries()) {
      this.nodes.push(await Node.plan(name, `127.0.1.${i + 1}`, join(this.folder, name), i === 0));
    }
    for (const service of services) await this.#startOrigin(service);
    const [first] = this.nodes;
    await this.registry.put('config/gateways/public', {
      listeners: [{ port: first!.edge.port, address: first!.edge.host, protocol: 'http' }],
    });
    for (const [key, value] of documents) await this.registry.put(key, value);

    await Promise.all(this.nodes.map((node) => this.#startNode(node)));
    await eventually(async () => {
      for (const name of new Set(services.map((service) => service.name))) {
        const wanted = services.filter((service) => service.name === name).length;
        const passing = (await this.registry.instances(name)).filter(
          ({ health }) => health === 'passing',
        );
        if (passing.length < wanted) throw new Error(`${passing.length}/${wanted} ${name} pass`);
      }
    }, START_MS);
    await this.registry.settled();
  }

  /** @param keep leaves the files, for somebody to look at what went wrong */
  async stop(keep = false): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
    await Promise.all([...this.#origins.values()].map((origin) => origin.stop()));
    await this.ca?.stop();
    await this.etcd?.stop();
    if (!keep) await rm(this.folder, { recursive: true, force: true });
  }

  async #startOrigin({ name, on, version, origin }: ServicePlan & { name: string }): Promise<void> {
    const node = this.node(on);
    const folder = join(node.folder, name);
    await mkdir(folder, { recursive: true });
    await mkdir(join(node.folder, 'services.d'), { recursive: true });
    const [port] = await freePorts(node.mesh.host, 1);
    const started = origin({ host: node.mesh.host, port: port! }, folder);
    this.#origins.set(`${name}@${on}`, started);
    await started.start();
    node.services.push(name);
    await writeFile(
      join(node.folder, 'services.d', `${name}.yaml`),
      stringify({
        service: name,
        address: formatAddress(started.address),
        protocol: 'http',
        ...(version === undefined ? {} : { meta: { version } }),
        check: {
          http: started.healthPath,
          interval: '500ms',
          timeout: '400ms',
          rise: 2,
          fall: 2,
        },
      }),
    );
  }

  async #startNode(node: Node): Promise<void> {
    const relay = this.#plan.relays.get(node.name);
    const advertise = relay === undefined ? node.mesh : await relay(node.mesh);
    const tokenFile = join(node.folder, 'token');
    const gateway = node.first ? 'public' : undefined;
    const token = await this.ca.token(node.name, node.services, gateway);
    await writeFile(tokenFile, token, { mode: 0o600 });
    await writeFile(
      node.configFile,
      stringify({
        node: node.name,
        zone: 'dc1-a',
        dataDir: join(node.folder, 'data'),
        registry: { etcd: { endpoints: [this.etcd.url], prefix: ETCD_PREFIX } },
        identity: { ca: this.ca.url, caFingerprint: this.ca.fingerprint, tokenFile },
        mesh: { listen: formatAddress(node.mesh), advertise: formatAddress(advertise) },
        egress: {
          listen: formatAddress(node.egress),
          listeners: node.first ? [{ listen: formatAddress(node.webEgress), as: 'web' }] : [],
        },
        admin: { listen: formatAddress(node.admin), socket: join(node.folder, 'admin.sock') },
        ...(node.first ? { gateway: 'public' } : {}),
      }),
    );
    await node.start();
    await untilReady(node.process, () => node.ready(), START_MS);
  }
}

class Node implements MeshNode {
  readonly name: string;
  readonly folder: string;
  readonly configFile: string;
  readonly first: boolean;
  readonly services: string[] = [];
  readonly mesh: Address;
  readonly egress: Address;
  readonly webEgress: Address;
  readonly edge: Address;
  readonly admin: Address;
  #process: RunningProcess | undefined;

  private constructor(name: string, folder: string, first: boolean, addresses: readonly Address[]) {
    this.name = name;
    this.folder = folder;
    this.configFile = join(folder, 'gateway.yaml');
    this.first = first;
    const [meshAt, egress, webEgress, edge, admin] = addresses;
    this.mesh = meshAt!;
    this.egress = egress!;
    this.webEgress = webEgress!;
    this.edge = edge!;
    this.admin = admin!;
  }

  static async plan(name: string, host: string, folder: string, first: boolean): Promise<Node> {
    await mkdir(folder, { recursive: true });
    const ports = await freePorts(host, 5);
    const addresses = ports.map((port) => ({ host, port }));
    return new Node(name, folder, first, addresses);
  }

  get process(): RunningProcess {
    if (this.#process === undefined) throw new Error(`${this.name} was never started`);
    return this.#process;
  }

  async start(): Promise<void> {
    const args = ['gateway', '--config', this.configFile];
    const logFile = join(this.folder, 'gateway.log');
    this.#process = await startProcess({ name: this.name, command: GATEMESH, args, logFile });
  }

  async kill(): Promise<void> {
    await this.#process?.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
  }

  status(): Promise<StatusReport> {
    return curlJson<StatusReport>(this.admin, '/status');
  }

  async ready(): Promise<void> {
    const { status, body } = await curl(this.admin, { path: '/readyz' });
    if (status !== 200) throw new Error(`/readyz: ${status} ${body.trim()}`);
  }
}
