import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '../bed.ts';
import type { Stand } from '../stand.ts';
import { nginxConfig } from './nginx-process.ts';
import { peer, type Subject } from './subject.ts';

/** 133 bytes. */
const SMALL_JSON = `{"id":1,"name":"widget","pad":"${'x'.repeat(100)}"}`;

export const BODIES = { small: '/', '64KiB': '/64KiB', '10MiB': '/10MiB' } as const;
export const BODY_BYTES = { '64KiB': 64 * 1024, '10MiB': 10 * 1024 * 1024 } as const;

/** A gRPC message with its five bytes in front: not compressed, 100 bytes. */
export const GRPC_MESSAGE = Buffer.concat([Buffer.from([0, 0, 0, 0, 100]), Buffer.alloc(100, 'x')]);
export const GRPC_METHOD = '/test.Echo/Unary';

export interface Origin {
  /** Port for HTTP/1.1: `/` and everything below `/route/` is small JSON, `/64KiB` and `/10MiB` are files. */
  readonly http: number;
  /** Port for HTTP/2 with prior knowledge: answers GRPC_METHOD with GRPC_MESSAGE and status OK. */
  readonly grpc: number;
  /** What the load costs without any proxy. */
  readonly subject: Subject;
}

/** nginx on the load's core. */
export async function startOrigin({ bed }: Stand): Promise<Origin> {
  const [http, grpc] = await freePorts(2);
  mkdirSync(join(bed.folder, 'www/test.Echo'), { recursive: true });
  for (const [name, bytes] of Object.entries(BODY_BYTES)) {
    bed.file(`www/${name}`, Buffer.alloc(bytes, 'gatemesh '));
  }
  bed.file(`www${GRPC_METHOD}`, GRPC_MESSAGE);
  // A POST to a file is 405, which is then answered with the file; the trailer makes a gRPC answer of it. `mirror` has the
  // message read first, as every gRPC server does: nginx as a proxy fails calls that are answered before they are complete.
  const servers = `server {
    listen 127.0.0.1:${http} backlog=4096;
    default_type application/json;
    location = / { return 200 '${SMALL_JSON}'; }
    location /route/ { return 200 '${SMALL_JSON}'; }
    location / { root ${bed.folder}/www; sendfile on; tcp_nopush on; }
  }
  server {
    listen 127.0.0.1:${grpc} http2 backlog=4096;
    default_type application/grpc;
    add_trailer grpc-status 0;
    error_page 405 =200 $uri;
    location / { root ${bed.folder}/www; mirror /mirror; }
    location = /mirror { internal; return 204; }
  }`;
  const config = bed.file('origin.conf', nginxConfig(bed, 'origin', servers));
  const command = ['nginx', '-e', 'stderr', '-c', config];
  const pid = await bed.start('origin', bed.cores.load, command, http);
  const subject = peer('origin, no proxy', `http://127.0.0.1:${http}`, [pid]);
  return { http: http!, grpc: grpc!, subject };
}
