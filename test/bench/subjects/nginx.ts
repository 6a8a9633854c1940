import { join } from 'node:path';
import { freePorts } from '../bed.ts';
import type { Stand } from '../stand.ts';
import { makeCertificates, type PeerCertificates } from './certificates.ts';
import { answersGrpc } from './grpc.ts';
import { startNginxProxy } from './nginx-process.ts';
import { startOrigin } from './origin.ts';
import { peer, type Fresh, type Subject } from './subject.ts';

const KEEP = 'keepalive 256; keepalive_requests 100000000;';
const PROXY = `proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_max_temp_file_size 0;`;

const pass = (upstream: string): string => `location / { proxy_pass http://${upstream}; ${PROXY} }`;

const upstream = (name: string, port: number): string =>
  `upstream ${name} { server 127.0.0.1:${port}; ${KEEP} }`;

const serverTls = ({ b }: PeerCertificates): string =>
  `ssl_certificate ${b}.crt; ssl_certificate_key ${b}.key; ssl_protocols TLSv1.3;`;

/** Directives of the calling side of mTLS, for `proxy` or `grpc`. */
const clientTls = (kind: 'proxy' | 'grpc', { ca, a }: PeerCertificates): string =>
  `${kind}_ssl_certificate ${a}.crt; ${kind}_ssl_certificate_key ${a}.key; ${kind}_ssl_trusted_certificate ${ca};
      ${kind}_ssl_verify on; ${kind}_ssl_name b.mesh; ${kind}_ssl_server_name on; ${kind}_ssl_protocols TLSv1.3;`;

export interface NginxHop {
  readonly hop: Subject;
  /** TLS 1.3 in, HTTP/1.1 or HTTP/2. */
  readonly https: Subject;
  /** With an access log, buffered. */
  readonly logged: Subject;
}

export async function startNginxHop(stand: Stand): Promise<NginxHop> {
  const { bed } = stand;
  const origin = await stand.use(startOrigin);
  const certificates = await stand.use(makeCertificates);
  const [hop, https, logged] = await freePorts(3);
  const log = `access_log ${join(bed.folder, 'nginx-access.log')} combined buffer=64k;`;
  const config = `${upstream('origin', origin.http)}
  server { listen 127.0.0.1:${hop} backlog=4096; ${pass('origin')} }
  server { listen 127.0.0.1:${https} ssl http2 backlog=4096; ${serverTls(certificates)} ${pass('origin')} }
  server { listen 127.0.0.1:${logged} backlog=4096; ${log} ${pass('origin')} }`;
  const pids = [await startNginxProxy(bed, 'nginx-hop', config, hop!)];
  return {
    hop: peer('nginx', `http://127.0.0.1:${hop}`, pids),
    https: peer('nginx', `https://127.0.0.1:${https}`, pids),
    logged: peer('nginx', `http://127.0.0.1:${logged}`, pids),
  };
}

/** Two hops with mTLS 1.3 over HTTP/1.1 between them. */
export async function startNginxPair(stand: Stand): Promise<Subject> {
  const { bed } = stand;
  const origin = await stand.use(startOrigin);
  const certificates = await stand.use(makeCertificates);
  const [near, far] = await freePorts(2);
  const config = `${upstream('origin', origin.http)}
  ${upstream('far', far!)}
  server {
    listen 127.0.0.1:${near} backlog=4096;
    location / { proxy_pass https://far; ${clientTls('proxy', certificates)} ${PROXY} }
  }
  server {
    listen 127.0.0.1:${far} ssl backlog=4096;
    ${serverTls(certificates)} ssl_client_certificate ${certificates.ca}; ssl_verify_client on;
    ${pass('origin')}
  }`;
  const pid = await startNginxProxy(bed, 'nginx-pair', config, near!);
  return peer('nginx pair', `http://127.0.0.1:${near}`, [pid]);
}

/** Two hops of gRPC: HTTP/2 in, HTTP/2 over mTLS 1.3 between them, HTTP/2 to the origin. */
export async function startNginxGrpcPair(stand: Stand): Promise<Subject> {
  const { bed } = stand;
  const origin = await stand.use(startOrigin);
  const certificates = await stand.use(makeCertificates);
  const [near, far] = await freePorts(2);
  const config = `${upstream('origin', origin.grpc)}
  ${upstream('far', far!)}
  server {
    listen 127.0.0.1:${near} http2 backlog=4096;
    location / { grpc_pass grpcs://far; ${clientTls('grpc', certificates)} }
  }
  server {
    listen 127.0.0.1:${far} ssl http2 backlog=4096;
    ${serverTls(certificates)} ssl_client_certificate ${certificates.ca}; ssl_verify_client on;
    location / { grpc_pass grpc://origin; }
  }`;
  const pid = await startNginxProxy(bed, 'nginx-grpc', config, near!);
  const subject = peer('nginx grpc pair', `http://127.0.0.1:${near}`, [pid]);
  await answersGrpc(subject);
  return subject;
}

/** A process of its own for each sample. */
export function nginxAlone(stand: Stand, tls: boolean): Fresh {
  return {
    name: 'nginx',
    start: async () => {
      const origin = await stand.use(startOrigin);
      const certificates = await stand.use(makeCertificates);
      const [port] = await freePorts(1);
      const listen = tls
        ? `${port} ssl backlog=4096; ${serverTls(certificates)}`
        : `${port} backlog=4096;`;
      const config = `${upstream('origin', origin.http)}
  server { listen 127.0.0.1:${listen} ${pass('origin')} }`;
      const pid = await startNginxProxy(stand.bed, 'nginx-alone', config, port!);
      return { port: port!, pids: [pid], aside: [] };
    },
  };
}
