import { join } from 'node:path';
import { freePorts } from '../bed.ts';
import type { Stand } from '../stand.ts';
import { startOrigin } from './origin.ts';
import { peer, type Subject } from './subject.ts';

export async function startFastify(stand: Stand): Promise<Subject> {
  const { bed } = stand;
  const { http: origin } = await stand.use(startOrigin);
  const [port] = await freePorts(1);
  const program = join(import.meta.dirname, 'fastify-hop.ts');
  const command = [process.execPath, program, String(port), String(origin)];
  const pid = await bed.start('fastify', bed.cores.proxy, command, port);
  return peer('Fastify', `http://127.0.0.1:${port}`, [pid]);
}
