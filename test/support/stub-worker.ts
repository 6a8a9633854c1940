import http from 'node:http';
import type { Server } from 'node:net';
import type { FromWorker, ToWorker, WorkerMetrics } from '../../gateway/ipc.ts';

/**
 * A worker that speaks gateway/ipc.ts and answers every request with what it was told, as JSON.
 * `/crash` ends it, `/hang` stops its loop for good.
 */
const servers = new Map<string, http.Server>();
const documents = new Map<string, unknown>();
let settings: unknown;
let identities: readonly string[] = [];
let revision = 0;
let requests = 0;

function say(message: FromWorker): void {
  process.send?.(message);
}

function serve(id: string, handle: Server): void {
  servers.get(id)?.close();
  const server = http.createServer((request, response) => {
    requests += 1;
    if (request.url === '/crash') process.exit(3);
    if (request.url === '/hang') for (;;);
    const told = { pid: process.pid, id, settings, identities, revision };
    response.setHeader('connection', 'close');
    response.end(JSON.stringify({ ...told, keys: [...documents.keys()].sort() }));
  });
  servers.set(id, server);
  server.on('error', (error: NodeJS.ErrnoException) =>
    say({ type: 'listen-failed', id, error: error.code ?? error.message }),
  );
  server.listen(handle, () => say({ type: 'listening', id }));
}

function metrics(): WorkerMetrics {
  const labels = { direction: 'egress', source: 'a', destination: 'b', route: 'r' } as const;
  return {
    requests: [{ ...labels, code: '200', reason: '', count: requests }],
    bounds: [0.1],
    durations: [],
    activeRequests: 1,
    connections: [],
    retries: [],
    endpoints: [],
  };
}

process.on('message', (message: ToWorker, handle: Server) => {
  switch (message.type) {
    case 'settings':
      settings = message.settings;
      break;
    case 'identity':
      identities = [...message.material.svids.keys()];
      break;
    case 'tables':
      if (message.change.reset) documents.clear();
      for (const [key, document] of message.change.put) documents.set(key, document);
      for (const key of message.change.deleted) documents.delete(key);
      revision = message.change.revision;
      say({ type: 'applied', revision });
      break;
    case 'listen':
      serve(message.listener.id, handle);
      break;
    case 'unlisten':
      servers.get(message.id)?.close();
      break;
    case 'ask':
      say(
        message.question.kind === 'metrics'
          ? { type: 'reply', id: message.id, reply: { kind: 'metrics', metrics: metrics() } }
          : { type: 'reply', id: message.id, reply: { kind: 'error', message: 'only a stub' } },
      );
      break;
    case 'callers':
      // It makes no calls, so it need not know whose they are.
      break;
    case 'drain':
      process.exit(0);
  }
});
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => {});
setInterval(() => say({ type: 'alive', eventLoopDelayMs: 0 }), 100);
say({ type: 'ready' });
