import { performance } from 'node:perf_hooks';
import { createLog } from '#kit/log.ts';
import { giveBackMemory } from '#kit/memory.ts';
import { seededRng } from '#kit/rng.ts';
import type { FromWorker, ToWorker } from '../ipc.ts';
import { Worker } from './worker.ts';

/** A worker is the supervisor's child and speaks only to it, over the fork's channel (../ipc.ts). */
if (process.send === undefined) {
  process.stderr.write('gatemesh: a worker is started by "gatemesh gateway", not by hand\n');
  process.exit(64);
}
const send = process.send.bind(process);

const worker = new Worker({
  log: createLog(),
  rng: seededRng(process.pid ^ Date.now()),
  now: () => performance.now(),
  send: (message: FromWorker) => {
    if (process.connected) send(message);
  },
  exit: () => process.exit(0),
});

// Before it listens: later there are always clients who wait.
giveBackMemory();
process.on('message', (message: ToWorker, handle) => worker.handle(message, handle));
// The supervisor is gone: systemd starts both anew; a worker of its own would hold sockets and old tables.
process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole process group; the supervisor says when to stop.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
