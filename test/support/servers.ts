import { join } from 'node:path';
import { formatAddress, type Address } from '#kit/address.ts';
import { accepts } from '../../gateway/demo/addresses.ts';
import { startProcess, untilReady, type RunningProcess } from '../../gateway/demo/processes.ts';
import { freePorts, GATEMESH, must } from './processes.ts';

const START_MS = 20_000;

/** A process that can be ended and started again at the same addresses with the same data. */
export interface Restartable {
  readonly address: Address;
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** One process behind a fixed address. */
class FixedProcess implements Restartable {
  readonly address: Address;
  readonly #start: () => Promise<RunningProcess>;
  #process: RunningProcess | undefined;

  constructor(address: Address, start: () => Promise<RunningProcess>) {
    this.address = address;
    this.#start = start;
  }

  async start(): Promise<void> {
    this.#process = await this.#start();
    await untilReady(this.#process, () => accepts(this.address), START_MS);
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
  }

  async kill(): Promise<void> {
    await this.#process?.kill('SIGKILL');
  }
}

/** Debian's etcd, one member, data on disk. */
export class EtcdProcess extends FixedProcess {
  get url(): string {
    return `http://${formatAddress(this.address)}`;
  }

  static async prepare(folder: string): Promise<EtcdProcess> {
    const host = '127.0.1.1';
    const [client, peer] = await freePorts(host, 2);
    const clientUrl = `http://${host}:${client}`;
    const peerUrl = `http://${host}:${peer}`;
    const args = [
      ['--data-dir', join(folder, 'etcd')],
      ['--listen-client-urls', clientUrl],
      ['--advertise-client-urls', clientUrl],
      ['--listen-peer-urls', peerUrl],
      ['--initial-advertise-peer-urls', peerUrl],
      ['--initial-cluster', `default=${peerUrl}`],
    ].flat();
    const logFile = join(folder, 'etcd.log');
    return new EtcdProcess({ host, port: client! }, () =>
      startProcess({ name: 'etcd', command: 'etcd', args, logFile }),
    );
  }
}

/** `gatemesh ca serve` over a CA made by `gatemesh ca init`. */
export class CaProcess extends FixedProcess {
  readonly folder: string;
  readonly fingerprint: string;

  private constructor(
    address: Address,
    start: () => Promise<RunningProcess>,
    folder: string,
    fingerprint: string,
  ) {
    super(address, start);
    this.folder = folder;
    this.fingerprint = fingerprint;
  }

  get url(): string {
    return `https://${formatAddress(this.address)}`;
  }

  static async prepare(
    folder: string,
    trustDomain: string,
    leafTtl: string | undefined,
  ): Promise<CaProcess> {
    const state = join(folder, 'ca');
    await must(GATEMESH, ['ca', 'init', '--dir', state, '--trust-domain', trustDomain]);
    const status = await must(GATEMESH, ['ca', 'status', '--dir', state, '--json']);
    const { fingerprint } = JSON.parse(status) as { fingerprint: string };
    const host = '127.0.1.1';
    const [port] = await freePorts(host, 1);
    const address = { host, port: port! };
    const ttl = leafTtl === undefined ? [] : ['--leaf-ttl', leafTtl];
    const args = ['ca', 'serve', '--dir', state, '--listen', formatAddress(address), ...ttl];
    const logFile = join(folder, 'ca.log');
    const start = (): Promise<RunningProcess> =>
      startProcess({ name: 'ca', command: GATEMESH, args, logFile });
    return new CaProcess(address, start, state, fingerprint);
  }

  async token(node: string, services: readonly string[]): Promise<string> {
    const names = services.flatMap((service) => ['--service', service]);
    return must(GATEMESH, ['ca', 'token', '--dir', this.folder, '--node', node, ...names]);
  }
}
