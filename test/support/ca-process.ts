import { join } from 'node:path';
import { formatAddress, type Address } from '#kit/address.ts';
import { accepts } from '../../gateway/demo/addresses.ts';
import { startProcess, untilReady, type RunningProcess } from '../../gateway/demo/processes.ts';
import { freePorts, GATEMESH, must } from './processes.ts';

/** `gatemesh ca serve` over a CA made by `gatemesh ca init`; it keeps its address when it is started again. */
export interface TestCa {
  /** Its keys and its ledger. */
  readonly folder: string;
  readonly address: Address;
  readonly url: string;
  readonly fingerprint: string;
  token(node: string, services: readonly string[], gateway?: string): Promise<string>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export async function startCa(
  parent: string,
  options: {
    readonly trustDomain: string;
    /** Where its tokens are kept. */
    readonly etcd: string;
    readonly leafTtl: string | undefined;
  },
): Promise<TestCa> {
  const { trustDomain, etcd, leafTtl } = options;
  const folder = join(parent, 'ca');
  const init = ['ca', 'init', '--dir', folder, '--trust-domain', trustDomain];
  const fingerprint = (await must(GATEMESH, init)).trim();
  const [port] = await freePorts('127.0.1.1', 1);
  const address = { host: '127.0.1.1', port: port! };
  const ttl = leafTtl === undefined ? [] : ['--leaf-ttl', leafTtl];
  const place = ['--dir', folder, '--listen', formatAddress(address), '--etcd', etcd];
  const args = ['ca', 'serve', ...place, ...ttl];
  const logFile = join(parent, 'ca.log');
  let running: RunningProcess | undefined;

  const ca: TestCa = {
    folder,
    address,
    url: `https://${formatAddress(address)}`,
    fingerprint,
    token(node, services, gateway) {
      const names = services.flatMap((service) => ['--service', service]);
      if (gateway !== undefined) names.push('--gateway', gateway);
      return must(GATEMESH, ['ca', 'token', '--dir', folder, '--node', node, ...names]);
    },
    async start() {
      running = await startProcess({ name: 'ca', command: GATEMESH, args, logFile });
      await untilReady(running, () => accepts(address), 20_000);
    },
    async stop() {
      await running?.stop();
    },
  };
  await ca.start();
  return ca;
}
