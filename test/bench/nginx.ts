import { freePorts, type Bed } from './bed.ts';
import type { PeerCertificates } from './certificates.ts';
import { peer, type Subject } from './subject.ts';

const KEEP = 'keepalive 256; keepalive_requests 100000000;';
const PROXY = `proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_max_temp_file_size 0;`;

/** One worker, as every subject has one process or thread that carries traffic. */
export function nginxConfig(bed: Bed, name: string, http: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${bed.folder}/${name}-${kind};`)
    .join(' ');
  // Root's nginx drops its worker to another user, who may not read the folder.
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  return `daemon off; worker_processes 1; ${user} pid ${bed.folder}/${name}.pid;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; ${temporary}
  ${http}
}
`;
}

/** One hop, plain and with TLS in; and two hops with mTLS 1.3 over HTTP/1.1 between them. */
export async function startNginx(
  bed: Bed,
  origin: number,
  certificates: PeerCertificates,
): Promise<{ readonly hop: Subject; readonly https: Subject; readonly pair: Subject }> {
  const [hop, https, near, far] = await freePorts(4);
  const { ca, a, b } = certificates;
  const upstream = `upstream origin { server 127.0.0.1:${origin}; ${KEEP} }`;
  const pass = `location / { proxy_pass http://origin; ${PROXY} }`;
  const serverTls = `ssl_certificate ${b}.crt; ssl_certificate_key ${b}.key; ssl_protocols TLSv1.3;`;

  const hopConfig = `${upstream}
  server { listen 127.0.0.1:${hop} backlog=4096; ${pass} }
  server { listen 127.0.0.1:${https} ssl backlog=4096; ${serverTls} ${pass} }`;
  const pairConfig = `${upstream}
  upstream far { server 127.0.0.1:${far}; ${KEEP} }
  server {
    listen 127.0.0.1:${near} backlog=4096;
    location / {
      proxy_pass https://far;
      proxy_ssl_certificate ${a}.crt; proxy_ssl_certificate_key ${a}.key; proxy_ssl_trusted_certificate ${ca};
      proxy_ssl_verify on; proxy_ssl_name b.mesh; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3;
      ${PROXY}
    }
  }
  server {
    listen 127.0.0.1:${far} ssl backlog=4096;
    ${serverTls} ssl_client_certificate ${ca}; ssl_verify_client on;
    ${pass}
  }`;

  const start = (name: string, http: string, port: number): Promise<number> => {
    const config = bed.file(`${name}.conf`, nginxConfig(bed, name, http));
    return bed.start(name, bed.cores.proxy, ['nginx', '-e', 'stderr', '-c', config], port);
  };
  const hopPid = await start('nginx-hop', hopConfig, hop!);
  const pairPid = await start('nginx-pair', pairConfig, near!);
  return {
    hop: peer('nginx', `http://127.0.0.1:${hop}`, [hopPid]),
    https: peer('nginx', `https://127.0.0.1:${https}`, [hopPid]),
    pair: peer('nginx pair', `http://127.0.0.1:${near}`, [pairPid]),
  };
}
