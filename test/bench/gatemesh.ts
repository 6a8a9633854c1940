import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../support/eventually.ts';
import { freePorts, type Bed } from './bed.ts';
import type { PeerCertificates } from './certificates.ts';
import type { Subject } from './subject.ts';

const run = promisify(execFile);
const GATEMESH = join(import.meta.dirname, '../../gateway/gatemesh');
const PREFIX = '/gatemesh/v1';
const READY_MS = 30_000;
/** Every request is matched among this many. */
const ROUTES = 1_000;

export interface GatemeshSubjects {
  /** Egress to an instance on the same node. */
  readonly hop: Subject;
  readonly edge: Subject;
  readonly https: Subject;
  /** Egress of A, mTLS, B, instance. */
  readonly pair: Subject;
}

interface Node {
  readonly name: string;
  readonly service: string;
  readonly egress: number;
  readonly admin: number;
  readonly pid: number;
}

/**
 * A real etcd, a CA and two gateways with all default features on; access log off, as with the peers.
 * `near` runs on A and `far` on B; both are the same origin. The edge gateway `public` is A's.
 */
export async function startGatemesh(
  bed: Bed,
  origin: number,
  { b: certificate }: PeerCertificates,
): Promise<GatemeshSubjects> {
  const etcd = await startEtcd(bed);
  const [http, https] = await freePorts(2);
  await putConfig(etcd, {
    'gateways/public': {
      listeners: [
        { port: http, address: '127.0.0.1', protocol: 'http' },
        { port: https, address: '127.0.0.1', protocol: 'https', certificates: ['bench'] },
      ],
    },
    'certificates/bench': {
      hosts: ['b.mesh'],
      certFile: `${certificate}.crt`,
      keyFile: `${certificate}.key`,
    },
    'routes/edge': { host: '*', gateways: ['public'], to: 'near' },
    ...Object.fromEntries(
      Array.from({ length: ROUTES }, (_, at) => [
        `routes/other-${at}`,
        { host: `other-${at}.example.com`, path: '/', to: at % 2 === 0 ? 'near' : 'far' },
      ]),
    ),
  });
  const identity = await startCa(bed);
  const a = await startGateway(bed, etcd, identity, origin, 'vm-a', 'near', 'public');
  const b = await startGateway(bed, etcd, identity, origin, 'vm-b', 'far', undefined);

  const at = (name: string, url: string, host: string | undefined, nodes: Node[]): Subject => {
    const pids = nodes.map(({ pid }) => pid);
    return { name, url, host, pids, aside: pids };
  };
  const egress = `http://127.0.0.1:${a.egress}`;
  const subjects = {
    hop: at('gatemesh', egress, 'near.mesh', [a]),
    edge: at('gatemesh edge', `http://127.0.0.1:${http}`, undefined, [a]),
    https: at('gatemesh edge', `https://127.0.0.1:${https}`, undefined, [a]),
    pair: at('gatemesh pair', egress, 'far.mesh', [a, b]),
  };
  for (const host of ['near.mesh', 'far.mesh']) await answers(egress, host);
  return subjects;
}

/** Gives its address. */
async function startEtcd(bed: Bed): Promise<string> {
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

interface Ca {
  readonly url: string;
  readonly fingerprint: string;
  token(node: string, service: string, gateway: string | undefined): Promise<string>;
}

async function startCa(bed: Bed): Promise<Ca> {
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
    token: (node, service, gateway) => {
      const edge = gateway === undefined ? [] : ['--gateway', gateway];
      return ca('token', '--dir', folder, '--node', node, '--service', service, ...edge);
    },
  };
}

async function startGateway(
  bed: Bed,
  etcd: string,
  ca: Ca,
  origin: number,
  name: string,
  service: string,
  gateway: string | undefined,
): Promise<Node> {
  const [mesh, egress, admin] = await freePorts(3);
  mkdirSync(join(bed.folder, name));
  const tokenFile = bed.file(`${name}/token`, await ca.token(name, service, gateway));
  const config = {
    node: name,
    dataDir: join(bed.folder, name, 'data'),
    accessLog: false,
    registry: { etcd: { endpoints: [etcd], prefix: PREFIX } },
    identity: { ca: ca.url, caFingerprint: ca.fingerprint, tokenFile },
    mesh: { listen: `127.0.0.1:${mesh}`, advertise: `127.0.0.1:${mesh}` },
    egress: { listen: `127.0.0.1:${egress}` },
    admin: { listen: `127.0.0.1:${admin}`, socket: join(bed.folder, name, 'admin.sock') },
    services: [{ service, address: `127.0.0.1:${origin}`, protocol: 'http', check: { http: '/' } }],
    ...(gateway === undefined ? {} : { gateway }),
  };
  // JSON is accepted where YAML is.
  const file = bed.file(`${name}/gateway.json`, JSON.stringify(config));
  const command = [GATEMESH, 'gateway', '--config', file];
  const pid = await bed.start(name, bed.cores.proxy, command, admin);
  await eventually(async () => {
    const response = await fetch(`http://127.0.0.1:${admin}/readyz`);
    if (!response.ok) throw new Error(`${name} is not ready: ${await response.text()}`);
  }, READY_MS);
  return { name, service, egress: egress!, admin: admin!, pid };
}

/** Through etcd's JSON gateway: a thousand etcdctl would take a minute. */
async function putConfig(url: string, documents: Readonly<Record<string, object>>): Promise<void> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  for (const [key, document] of Object.entries(documents)) {
    const body = JSON.stringify({
      key: base64(`${PREFIX}/config/${key}`),
      value: base64(JSON.stringify(document)),
    });
    const response = await fetch(`${url}/v3/kv/put`, { method: 'POST', body });
    if (!response.ok) throw new Error(`etcd refused ${key}: ${await response.text()}`);
  }
}

async function answers(url: string, host: string): Promise<void> {
  await eventually(async () => {
    const { stdout } = await run('curl', ['-s', '-m', '2', '-i', '-H', `Host: ${host}`, url]);
    if (!stdout.startsWith('HTTP/1.1 200')) throw new Error(`${host} at ${url}: ${stdout}`);
  }, READY_MS);
}
