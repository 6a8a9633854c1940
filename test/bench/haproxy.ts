import { freePorts, type Bed } from './bed.ts';
import type { PeerCertificates } from './certificates.ts';
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

/** One hop; and two hops with mTLS over HTTP/2 between them. */
export async function startHaproxy(
  bed: Bed,
  origin: number,
  { ca, a, b }: PeerCertificates,
): Promise<{ readonly hop: Subject; readonly pair: Subject }> {
  const [hop, near, far] = await freePorts(3);
  const backend = `backend origin
  server s 127.0.0.1:${origin} pool-max-conn 256
`;
  const hopConfig = `${COMMON}frontend hop
  bind 127.0.0.1:${hop}
  default_backend origin
${backend}`;
  const pairConfig = `${COMMON}frontend near
  bind 127.0.0.1:${near}
  default_backend far
backend far
  server s 127.0.0.1:${far} ssl crt ${a}.pem ca-file ${ca} verify required sni str(b.mesh) ssl-min-ver TLSv1.3 alpn h2 pool-max-conn 256
frontend far
  bind 127.0.0.1:${far} ssl crt ${b}.pem ca-file ${ca} verify required ssl-min-ver TLSv1.3 alpn h2
  default_backend origin
${backend}`;

  const start = (name: string, config: string, port: number): Promise<number> => {
    const file = bed.file(`${name}.cfg`, config);
    return bed.start(name, bed.cores.proxy, ['haproxy', '-db', '-f', file], port);
  };
  return {
    hop: peer('HAProxy', `http://127.0.0.1:${hop}`, [await start('haproxy-hop', hopConfig, hop!)]),
    pair: peer('HAProxy h2 pair', `http://127.0.0.1:${near}`, [
      await start('haproxy-pair', pairConfig, near!),
    ]),
  };
}
