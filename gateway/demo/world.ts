import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatAddress } from '#kit/address.ts';
import { MeshError } from '#kit/errors.ts';
import { createLog } from '#kit/log.ts';
import { openEmbeddedStore } from '../../registry/store/embedded.ts';
import { openEtcdStore } from '../../registry/store/etcd.ts';
import type { Store } from '../../registry/store/store.ts';
import { accepts, checkAddresses } from './addresses.ts';
import {
  CA,
  DOCUMENTS,
  EDGE_ADDRESS,
  GATEMESH,
  gatewayFile,
  NODES,
  PORTS,
  serviceFile,
  WEB_EGRESS,
  type DemoNode,
  type RegistryChoice,
} from './plan.ts';
import { startProcess, untilReady, type RunningProcess } from './processes.ts';
import { demoRegistry, type DemoRegistry } from './registry.ts';
import { get, sampleService, type SampleService } from './services.ts';

/** A prefix of its own: the demo may run on an etcd that serves a real mesh. */
const ETCD_PREFIX = '/gatemesh/demo';
const READY_WITHIN_MS = 20_000;

/** Everything the demo started: processes, servers, files. */
export interface World {
  /** Logs, keys and configuration files. */
  readonly folder: string;
  readonly registry: DemoRegistry;
  readonly registryChoice: RegistryChoice;
  readonly processes: readonly RunningProcess[];
  readonly services: readonly SampleService[];
  /**
   * Ends what was started, last first, each by its pid.
   * @param keepFiles leaves the folder, for somebody to look at the logs
   */
  stop(keepFiles: boolean): Promise<void>;
}

/**
 * Starts the CA, three gateways and the sample services, with the commands and files a person would use.
 * When it fails, everything is ended again and only the folder is left, named in the message.
 */
export async function startWorld(etcd: string | undefined, signal: AbortSignal): Promise<World> {
  await checkAddresses();
  const folder = await mkdtemp(join(tmpdir(), 'gatemesh-demo-'));
  await chmod(folder, 0o700);
  const world = new Starting(folder, etcd);
  try {
    for (const step of [
      () => world.openRegistry(),
      () => world.startCa(),
      () => world.startServices(),
      () => world.startGateways(),
      () => world.untilItAnswers(),
    ]) {
      signal.throwIfAborted();
      await step();
    }
    return world;
  } catch (error) {
    await world.stop(!signal.aborted).catch(() => {
      // etcd is away: that is what `error` says already, or it is the lesser trouble.
    });
    throw error;
  }
}

class Starting implements World {
  readonly folder: string;
  readonly registryChoice: RegistryChoice;
  readonly processes: RunningProcess[] = [];
  readonly services: SampleService[] = [];
  #store: Store | undefined;
  readonly #caFolder: string;
  #caFingerprint = '';

  constructor(folder: string, etcd: string | undefined) {
    this.folder = folder;
    this.#caFolder = join(folder, 'ca');
    this.registryChoice =
      etcd === undefined
        ? { embedded: { file: join(folder, 'registry.db') } }
        : { etcd: { endpoints: [etcd], prefix: ETCD_PREFIX } };
  }

  get registry(): DemoRegistry {
    return demoRegistry(this.#store!);
  }

  async openRegistry(): Promise<void> {
    const log = createLog({ level: 'silent' });
    const choice = this.registryChoice;
    const store =
      'embedded' in choice
        ? await openEmbeddedStore({ file: choice.embedded.file, log })
        : await openEtcdStore({ ...choice.etcd, log });
    this.#store = store;
    // What a demo that was killed left behind in etcd would be believed by this one.
    await this.#clear();
    for (const { key, value } of Object.values(DOCUMENTS)) await store.put(key, value);
  }

  async startCa(): Promise<void> {
    const printed = await gatemesh('ca', 'init', '--dir', this.#caFolder);
    this.#caFingerprint = printed.trim();
    const place = ['--dir', this.#caFolder, '--listen', formatAddress(CA)];
    const ca = await this.#start('ca', ['ca', 'serve', ...place]);
    await untilReady(ca, () => accepts(CA), READY_WITHIN_MS);
  }

  async startServices(): Promise<void> {
    for (const node of NODES) {
      for (const { service, version, port, calls } of node.services) {
        const sample = sampleService({
          name: service,
          version,
          node: node.name,
          address: { host: node.host, port },
          ...(calls === undefined ? {} : { calls, egress: WEB_EGRESS }),
        });
        await sample.start();
        this.services.push(sample);
      }
    }
  }

  async startGateways(): Promise<void> {
    const started = await Promise.all(NODES.map((node) => this.#startGateway(node)));
    await Promise.all(
      started.map((gateway, i) => {
        const address = { host: NODES[i]!.host, port: PORTS.admin };
        const ready = async (): Promise<void> => {
          const { status, body } = await get({ address, host: NODES[i]!.host, path: '/readyz' });
          if (status !== 200) throw new Error(`/readyz: ${status} ${body.trim()}`);
        };
        return untilReady(gateway, ready, READY_WITHIN_MS);
      }),
    );
  }

  /** Ready gateways know themselves; that they know each other and their services shows in an answer. */
  async untilItAnswers(): Promise<void> {
    const gateway = this.processes.at(-1)!;
    const answers = async (): Promise<void> => {
      const { status, body } = await get({ address: EDGE_ADDRESS, host: EDGE_ADDRESS.host });
      if (status !== 200) throw new Error(`the edge gateway answers ${status} ${body.trim()}`);
      const orders = await this.registry.instances('orders');
      const passing = orders.filter(({ health }) => health === 'passing');
      if (passing.length < 2) throw new Error(`${passing.length} of 2 instances of orders pass`);
    };
    await untilReady(gateway, answers, READY_WITHIN_MS);
  }

  async stop(keepFiles: boolean): Promise<void> {
    // The CA started first and ends last; the gateways leave the registry while it is still there.
    const [ca, ...gateways] = this.processes;
    await Promise.all(gateways.map((gateway) => gateway.stop()));
    await ca?.stop();
    await Promise.all(this.services.map((service) => service.stop()));
    try {
      if ('etcd' in this.registryChoice) await this.#clear();
      await this.#store?.close();
    } finally {
      // Without a process there is no log to look at.
      if (!keepFiles || ca === undefined) await rm(this.folder, { recursive: true, force: true });
    }
  }

  async #clear(): Promise<void> {
    const entries = (await this.#store?.range(''))?.entries ?? [];
    for (const { key } of entries) await this.#store?.delete(key);
  }

  async #startGateway(node: DemoNode): Promise<RunningProcess> {
    const folder = join(this.folder, node.name);
    await mkdir(join(folder, 'services.d'), { recursive: true });
    for (const service of node.services) {
      const file = join(folder, 'services.d', `${service.service}.yaml`);
      await writeFile(file, serviceFile(node.host, service));
    }
    const tokenFile = join(folder, 'token');
    const names = node.services.flatMap(({ service }) => ['--service', service]);
    if (node.edge !== undefined) names.push('--gateway', node.edge);
    const forNode = ['--dir', this.#caFolder, '--node', node.name, ...names];
    const token = await gatemesh('ca', 'token', ...forNode);
    await writeFile(tokenFile, token, { mode: 0o600 });
    const file = join(folder, 'gateway.yaml');
    const place = {
      folder,
      registry: this.registryChoice,
      caFingerprint: this.#caFingerprint,
      tokenFile,
    };
    await writeFile(file, gatewayFile(node, place));
    return this.#start(node.name, ['gateway', '--config', file]);
  }

  async #start(name: string, args: readonly string[]): Promise<RunningProcess> {
    const logFile = join(this.folder, `${name}.log`);
    const started = await startProcess({ name, command: GATEMESH, args, logFile });
    this.processes.push(started);
    return started;
  }
}

/** Runs a command to its end and gives what it printed; a failure carries the command's own message. */
function gatemesh(...args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(GATEMESH, args, { timeout: READY_WITHIN_MS }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else {
        const message = `gatemesh ${args.join(' ')}: ${stderr.trim() || error.message}`;
        reject(new MeshError('demo_command', message, { cause: error }));
      }
    });
  });
}
