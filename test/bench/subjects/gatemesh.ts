import { freePorts } from '../bed.ts';
import type { Stand } from '../stand.ts';
import { makeCertificates } from './certificates.ts';
import { putConfig, startEtcd } from './control-plane.ts';
import { answers, prepareGateway, startGateway, type Gateway } from './gateway.ts';
import { answersGrpc } from './grpc.ts';
import { startOrigin } from './origin.ts';
import type { Fresh, Subject } from './subject.ts';

const PREFIX = '/gatemesh/v1';
/** Every request is matched among this many. */
const ROUTES = 1_000;

export interface GatemeshSubjects {
  /** Egress to an instance on the same node. */
  readonly hop: Subject;
  readonly edge: Subject;
  /** TLS 1.3 in, HTTP/1.1 or HTTP/2. */
  readonly https: Subject;
  /** Egress of A, mTLS, B, instance. */
  readonly pair: Subject;
  /** The same way, to an instance that speaks gRPC. */
  readonly grpcPair: Subject;
}

/**
 * A real etcd, a CA and two gateways with all default features on; access log off, as with the peers.
 * `near` runs on A, `far` and `far-grpc` on B; all are the same origin. The edge gateway `public` is A's.
 */
export async function startGatemesh(stand: Stand): Promise<GatemeshSubjects> {
  const origin = await stand.use(startOrigin);
  const ports = await putEdge(stand, PREFIX, 'public', 'near');
  await putConfig(
    await stand.use(startEtcd),
    PREFIX,
    Object.fromEntries(
      Array.from({ length: ROUTES }, (_, at) => [
        `routes/other-${at}`,
        { host: `other-${at}.example.com`, path: '/', to: at % 2 === 0 ? 'near' : 'far' },
      ]),
    ),
  );
  const a = await startGateway(stand, {
    name: 'vm-a',
    prefix: PREFIX,
    services: { near: { port: origin.http } },
    edge: 'public',
  });
  const b = await startGateway(stand, {
    name: 'vm-b',
    prefix: PREFIX,
    services: { far: { port: origin.http }, 'far-grpc': { port: origin.grpc, protocol: 'grpc' } },
  });
  for (const host of ['near.mesh', 'far.mesh']) await answers(a.egress, host);
  const grpcPair = subject('gatemesh pair', a.egress, 'far-grpc.mesh', [a, b]);
  await answersGrpc(grpcPair);
  return {
    hop: subject('gatemesh', a.egress, 'near.mesh', [a]),
    edge: subject('gatemesh edge', `http://127.0.0.1:${ports.http}`, undefined, [a]),
    https: subject('gatemesh edge', `https://127.0.0.1:${ports.https}`, undefined, [a]),
    pair: subject('gatemesh pair', a.egress, 'far.mesh', [a, b]),
    grpcPair,
  };
}

/** A third node of the same mesh, which writes its access log into a file; the request is a hop as on A. */
export async function startLogging(stand: Stand): Promise<Subject> {
  await stand.use(startGatemesh);
  const { http } = await stand.use(startOrigin);
  const gateway = await startGateway(stand, {
    name: 'vm-log',
    prefix: PREFIX,
    services: { logged: { port: http } },
    accessLog: true,
  });
  await answers(gateway.egress, 'logged.mesh');
  return subject('gatemesh', gateway.egress, 'logged.mesh', [gateway]);
}

/** An edge gateway in a mesh of its own, new for each sample. */
export async function prepareEdge(stand: Stand, tls: boolean): Promise<Fresh> {
  const name = tls ? 'vm-tls' : 'vm-plain';
  const prefix = `/${name}/v1`;
  const origin = await stand.use(startOrigin);
  const { http, https } = await putEdge(stand, prefix, 'public', 'near');
  const services = { near: { port: origin.http } };
  const { start } = await prepareGateway(stand, { name, prefix, services, edge: 'public' });
  return {
    name: 'gatemesh edge',
    start: async () => {
      const pids = [await start()];
      await answers(tls ? `https://127.0.0.1:${https}` : `http://127.0.0.1:${http}`, undefined);
      return { port: tls ? https : http, pids, aside: pids };
    },
  };
}

function subject(
  name: string,
  url: string,
  host: string | undefined,
  gateways: readonly Gateway[],
): Subject {
  const pids = gateways.map(({ pid }) => pid);
  return { name, url, host, pids, aside: pids };
}

/** An edge gateway with a plain and a TLS listener, whose requests all go to one service. @returns its ports */
async function putEdge(
  stand: Stand,
  prefix: string,
  gateway: string,
  service: string,
): Promise<{ readonly http: number; readonly https: number }> {
  const etcd = await stand.use(startEtcd);
  const { b: certificate } = await stand.use(makeCertificates);
  const [http, https] = await freePorts(2);
  await putConfig(etcd, prefix, {
    [`gateways/${gateway}`]: {
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
    'routes/edge': { host: '*', gateways: [gateway], to: service },
  });
  return { http: http!, https: https! };
}
