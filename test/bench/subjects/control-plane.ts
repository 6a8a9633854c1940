import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../../support/eventually.ts';
import { freePorts } from '../bed.ts';
import type { Stand } from '../stand.ts';

const run = promisify(execFile);

export const GATEMESH = join(import.meta.dirname, '../../../gateway/gatemesh');
/** For anything of ours to be up and ready: with 10,000 routes and a busy machine it takes a while. */
export const READY_MS = 30_000;
/** etcd takes 128 in one transaction. */
const PUTS_AT_ONCE = 100;

/** A real etcd on the load's core, for every mesh of the run: each has a prefix of its own. @returns its URL */
export async function startEtcd({ bed }: Stand): Promise<string> {
  const [port, peerPort] = await freePorts(2);
  const url = `http://127.0.0.1:${port}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const command = [
    ...['etcd', '--name', 'bench', '--data-dir', join(bed.folder, 'etcd'), '--unsafe-no-fsync'],
    ...['--listen-client-urls', url, '--advertise-client-urls', url],
    ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
    ...['--initial-cluster', `bench=${peerUrl}`],
  ];
  await bed.start('etcd', bed.cores.load, command, port);
  await eventually(async () => {
    const { health } = (await (await fetch(`${url}/health`)).json()) as { readonly health: string };
    if (health !== 'true') throw new Error('etcd has no leader');
  }, READY_MS);
  return url;
}

export interface Ca {
  readonly url: string;
  readonly fingerprint: string;
  /** With which one machine joins. */
  token(node: string, services: readonly string[], gateway: string | undefined): Promise<string>;
}

export async function startCa({ bed }: Stand): Promise<Ca> {
  const folder = join(bed.folder, 'ca');
  const [port] = await freePorts(1);
  const ca = async (...args: readonly string[]): Promise<string> =>
    (await run(GATEMESH, ['ca', ...args])).stdout;
  await ca('init', '--dir', folder, '--trust-domain', 'mesh.internal');
  const { fingerprint } = JSON.parse(await ca('status', '--dir', folder, '--json')) as {
    readonly fingerprint: string;
  };
  const serve = [GATEMESH, 'ca', 'serve', '--dir', folder, '--listen', `127.0.0.1:${port}`];
  await bed.start('ca', bed.cores.load, serve, port);
  return {
    url: `https://127.0.0.1:${port}`,
    fingerprint,
    token: (node, services, gateway) => {
      const edge = gateway === undefined ? [] : ['--gateway', gateway];
      const may = ['--services', services.join(','), ...edge];
      return ca('token', '--dir', folder, '--node', node, ...may);
    },
  };
}

/** Through etcd's JSON gateway, many at once: thousands of etcdctl would take minutes. */
export async function putConfig(
  url: string,
  prefix: string,
  documents: Readonly<Record<string, object>>,
): Promise<void> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const puts = Object.entries(documents).map(([key, document]) => ({
    requestPut: {
      key: base64(`${prefix}/config/${key}`),
      value: base64(JSON.stringify(document)),
    },
  }));
  for (let at = 0; at < puts.length; at += PUTS_AT_ONCE) {
    const body = JSON.stringify({ success: puts.slice(at, at + PUTS_AT_ONCE) });
    const response = await fetch(`${url}/v3/kv/txn`, { method: 'POST', body });
    if (!response.ok) throw new Error(`etcd refused documents: ${await response.text()}`);
  }
}
