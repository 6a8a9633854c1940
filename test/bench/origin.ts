import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts, type Bed } from './bed.ts';
import { nginxConfig } from './nginx.ts';

/** 133 bytes. */
const SMALL_JSON = `{"id":1,"name":"widget","pad":"${'x'.repeat(100)}"}`;

export const BODIES = { small: '/', '64KiB': '/64KiB', '10MiB': '/10MiB' } as const;
export const BODY_BYTES = { '64KiB': 64 * 1024, '10MiB': 10 * 1024 * 1024 } as const;

/** nginx on the load's core: `/` is small JSON, `/64KiB` and `/10MiB` are files. Gives its port. */
export async function startOrigin(bed: Bed): Promise<number> {
  const [port] = await freePorts(1);
  mkdirSync(join(bed.folder, 'www'));
  for (const [name, bytes] of Object.entries(BODY_BYTES)) {
    bed.file(`www/${name}`, Buffer.alloc(bytes, 'gatemesh '));
  }
  const server = `server {
    listen 127.0.0.1:${port} backlog=4096;
    default_type application/json;
    location = / { return 200 '${SMALL_JSON}'; }
    location / { root ${bed.folder}/www; sendfile on; tcp_nopush on; }
  }`;
  const config = bed.file('origin.conf', nginxConfig(bed, 'origin', server));
  await bed.start('origin', bed.cores.load, ['nginx', '-e', 'stderr', '-c', config], port);
  return port!;
}
