import { join } from 'node:path';
import { freePorts, type Bed } from './bed.ts';
import { peer, type Subject } from './subject.ts';

export async function startFastify(bed: Bed, origin: number): Promise<Subject> {
  const [port] = await freePorts(1);
  const program = join(import.meta.dirname, 'fastify-hop.ts');
  const command = [process.execPath, program, String(port), String(origin)];
  const pid = await bed.start('fastify', bed.cores.proxy, command, port);
  return peer('Fastify', `http://127.0.0.1:${port}`, [pid]);
}
