import { freePorts, type Bed } from '../bed.ts';
import type { Stand } from '../stand.ts';
import { makeCertificates, type PeerCertificates } from './certificates.ts';
import { answersGrpc } from './grpc.ts';
import { startOrigin } from './origin.ts';
import { peer, type Subject } from './subject.ts';

const COMMON = `global
  maxconn 8192
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  option forwardfor
  option http-keep-alive
  http-reuse always
`;

/** @param more of the server line, such as its protocol */
const backend = (name: string, port: number, more = ''): string => `backend ${name}
  server s 127.0.0.1:${port} ${more} pool-max-conn 256
`;

function start(bed: Bed, name: string, config: string, port: number): Promise<number> {
  const file = bed.file(`${name}.cfg`, COMMON + config);
  return bed.start(name, bed.cores.proxy, ['haproxy', '-db', '-f', file], port);
}

export interface HaproxyHop {
  readonly hop: Subject;
  /** TLS 1.3 in, HTTP/2. */
  readonly h2: Subject;
}

export async function startHaproxyHop(stand: Stand): Promise<HaproxyHop> {
  const origin = await stand.use(startOrigin);
  const { b } = await stand.use(makeCertificates);
  const [hop, h2] = await freePorts(2);
  const config = `frontend hop
  bind 127.0.0.1:${hop}
  default_backend origin
frontend h2
  bind 127.0.0.1:${h2} ssl crt ${b}.pem ssl-min-ver TLSv1.3 alpn h2
  default_backend origin
${backend('origin', origin.http)}`;
  const pids = [await start(stand.bed, 'haproxy-hop', config, hop!)];
  return {
    hop: peer('HAProxy', `http://127.0.0.1:${hop}`, pids),
    h2: peer('HAProxy', `https://127.0.0.1:${h2}`, pids),
  };
}

/** Two hops with mTLS over HTTP/2 between them. */
export async function startHaproxyPair(stand: Stand): Promise<Subject> {
  const origin = await stand.use(startOrigin);
  const certificates = await stand.use(makeCertificates);
  const [near, far] = await freePorts(2);
  const config = pair(near!, far!, certificates, '', backend('origin', origin.http));
  const pid = await start(stand.bed, 'haproxy-pair', config, near!);
  return peer('HAProxy h2 pair', `http://127.0.0.1:${near}`, [pid]);
}

/** The same for gRPC, with HTTP/2 in and to the origin. */
export async function startHaproxyGrpcPair(stand: Stand): Promise<Subject> {
  const origin = await stand.use(startOrigin);
  const certificates = await stand.use(makeCertificates);
  const [near, far] = await freePorts(2);
  const toOrigin = backend('origin', origin.grpc, 'proto h2');
  const config = pair(near!, far!, certificates, 'proto h2', toOrigin);
  const pid = await start(stand.bed, 'haproxy-grpc', config, near!);
  const subject = peer('HAProxy h2 pair', `http://127.0.0.1:${near}`, [pid]);
  await answersGrpc(subject);
  return subject;
}

function pair(
  near: number,
  far: number,
  { ca, a, b }: PeerCertificates,
  bind: string,
  toOrigin: string,
): string {
  const client = `ssl crt ${a}.pem ca-file ${ca} verify required sni str(b.mesh) ssl-min-ver TLSv1.3 alpn h2`;
  return `frontend near
  bind 127.0.0.1:${near} ${bind}
  default_backend far
${backend('far', far, client)}
frontend far
  bind 127.0.0.1:${far} ssl crt ${b}.pem ca-file ${ca} verify required ssl-min-ver TLSv1.3 alpn h2
  default_backend origin
${toOrigin}`;
}
