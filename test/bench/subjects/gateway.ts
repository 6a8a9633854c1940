import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../../support/eventually.ts';
import { freePorts } from '../bed.ts';
import type { Stand } from '../stand.ts';
import { GATEMESH, READY_MS, startCa, startEtcd } from './control-plane.ts';

const run = promisify(execFile);

export interface GatewayOptions {
  /** Of its node; all different in one run. */
  readonly name: string;
  /** Its mesh, in the one etcd. */
  readonly prefix: string;
  /** Port of each service on the node, and what it speaks when that is not HTTP/1.1. */
  readonly services: Readonly<
    Record<string, { readonly port: number; readonly protocol?: 'grpc' }>
  >;
  /** Edge gateway that the node runs. */
  readonly edge?: string;
  /** Default off, as with the peers. */
  readonly accessLog?: boolean;
}

export interface Gateway {
  readonly pid: number;
  /** URL of its egress listener. */
  readonly egress: string;
}

/** One gateway with all default features, ready. */
export async function startGateway(stand: Stand, options: GatewayOptions): Promise<Gateway> {
  const { egress, start } = await prepareGateway(stand, options);
  return { egress, pid: await start() };
}

/** The same, not yet started: it may be started again whenever it was ended. */
export async function prepareGateway(
  stand: Stand,
  options: GatewayOptions,
): Promise<Pick<Gateway, 'egress'> & { start(): Promise<number> }> {
  const { bed } = stand;
  const { name, prefix, edge, accessLog = false } = options;
  const ca = await stand.use(startCa);
  const etcd = await stand.use(startEtcd);
  const [mesh, egress, admin] = await freePorts(3);
  mkdirSync(join(bed.folder, name));
  const services = Object.entries(options.services).map(([service, { port, protocol }]) => ({
    service,
    address: `127.0.0.1:${port}`,
    ...(protocol === undefined
      ? { protocol: 'http', check: { http: '/' } }
      : { protocol, check: { tcp: true } }),
  }));
  const tokenFile = join(bed.folder, name, 'token');
  const config = {
    node: name,
    dataDir: join(bed.folder, name, 'data'),
    accessLog,
    registry: { etcd: { endpoints: [etcd], prefix } },
    identity: { ca: ca.url, caFingerprint: ca.fingerprint, tokenFile },
    mesh: { listen: `127.0.0.1:${mesh}`, advertise: `127.0.0.1:${mesh}` },
    egress: { listen: `127.0.0.1:${egress}` },
    admin: { listen: `127.0.0.1:${admin}`, socket: join(bed.folder, name, 'admin.sock') },
    services,
    ...(edge === undefined ? {} : { gateway: edge }),
  };
  // JSON is accepted where YAML is.
  const file = bed.file(`${name}/gateway.json`, JSON.stringify(config));
  const start = async () => {
    // At the first start, which may be long after this was prepared: a token is good for ten minutes.
    if (!existsSync(tokenFile)) {
      const token = await ca.token(name, Object.keys(options.services), edge);
      bed.file(`${name}/token`, token);
    }
    const command = [GATEMESH, 'gateway', '--config', file];
    const pid = await bed.start(name, bed.cores.proxy, command, admin);
    await eventually(async () => {
      const response = await fetch(`http://127.0.0.1:${admin}/readyz`);
      if (!response.ok) throw new Error(`${name} is not ready: ${await response.text()}`);
    }, READY_MS);
    return pid;
  };
  return { egress: `http://127.0.0.1:${egress}`, start };
}

/** Waits until a request is answered with 200. */
export async function answers(url: string, host: string | undefined): Promise<void> {
  const named = host === undefined ? [] : ['-H', `Host: ${host}`];
  await eventually(async () => {
    const { stdout } = await run('curl', ['-s', '-k', '-m', '2', '-i', ...named, url]);
    if (!/^HTTP\/\S+ 200/.test(stdout)) throw new Error(`${host ?? ''} at ${url}: ${stdout}`);
  }, READY_MS);
}
