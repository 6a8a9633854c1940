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
  token(node: string, services: readonly string[]): Promise<string>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** @param leafTtl `60s`; undefined is the CA's own default */
export async function startCa(
  parent: string,
  trustDomain: string,
  leafTtl: string | undefined,
): Promise<TestCa> {
  const folder = join(parent, 'ca');
  await must(GATEMESH, ['ca', 'init', '--dir', folder, '--trust-domain', trustDomain]);
  const status = await must(GATEMESH, ['ca', 'status', '--dir', folder, '--json']);
  const { fingerprint } = JSON.parse(status) as { fingerprint: string };
  const [port] = await freePorts('127.0.1.1', 1);
  const address = { host: '127.0.1.1', port: port! };
  const ttl = leafTtl === undefined ? [] : ['--leaf-ttl', leafTtl];
  const args = ['ca', 'serve', '--dir', folder, '--listen', formatAddress(address), ...ttl];
  const logFile = join(parent, 'ca.log');
  let running: RunningProcess | undefined;

  const ca: TestCa = {
    folder,
    address,
    url: `https://${formatAddress(address)}`,
    fingerprint,
    token(node, services) {
      const names = services.flatMap((service) => ['--service', service]);
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
