import type { Bed } from '../bed.ts';

/** One worker, as every subject has one process or thread that carries traffic. */
export function nginxConfig(bed: Bed, name: string, http: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${bed.folder}/${name}-${kind};`)
    .join(' ');
  // Root's nginx drops its worker to another user, who may not read the folder.
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  return `daemon off; worker_processes 1; ${user} pid ${bed.folder}/${name}.pid;
events { worker_connections 16384; }
http {
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; ${temporary}
  ${http}
}
`;
}

/** On the proxies' core. @returns its process id */
export function startNginxProxy(
  bed: Bed,
  name: string,
  http: string,
  port: number,
): Promise<number> {
  const config = bed.file(`${name}.conf`, nginxConfig(bed, name, http));
  return bed.start(name, bed.cores.proxy, ['nginx', '-e', 'stderr', '-c', config], port);
}
