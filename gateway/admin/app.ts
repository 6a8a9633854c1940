import { fastify, type FastifyInstance, type FastifyReply } from 'fastify';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type { Dashboard } from './dashboard.ts';
import { parseExplainQuery } from './explain-query.ts';
import { METRICS_CONTENT_TYPE, type Metrics } from './metrics.ts';
import type { AdminSource } from './source.ts';

/** Everything one listener of the admin API needs. */
export interface AdminParts {
  readonly source: AdminSource;
  readonly metrics: Metrics;
  readonly dashboard: Dashboard;
  readonly log: Log;
  /** Whether a Host header may be answered; the Unix socket answers all. */
  readonly mayAnswer: (host: string | undefined) => boolean;
}

/** Data only: nothing that is not the dashboard may run, be framed or be kept by a browser. */
const HEADERS = {
  'content-security-policy': `default-src 'none'; frame-ancestors 'none'; sandbox`,
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
} as const;

const REQUEST_MS = 10_000;

const OPTIONS = {
  logger: false,
  // While closing, what still arrives is answered rather than refused (and a restart is not an outage).
  return503OnClosing: false,
  forceCloseConnections: 'idle',
  requestTimeout: REQUEST_MS,
  // Or Node takes its own 60 s for the request, and looks for late ones every 30 s.
  http: { headersTimeout: REQUEST_MS, connectionsCheckingInterval: 1_000 },
  routerOptions: { maxParamLength: 255 },
} as const;

/** No route here has a schema. Fastify loads the compilers for them all the same, 1 MB, unless it is given others. */
const NO_SCHEMAS = {
  buildValidator: (): never => noSchemas(),
  buildSerializer: (): never => noSchemas(),
};

function noSchemas(): never {
  throw new Error('a route with a schema wants the compilers that NO_SCHEMAS leaves out');
}

/** The read-only admin API, not listening yet. */
export function buildAdmin(parts: AdminParts): FastifyInstance {
  const { source, metrics } = parts;
  const app = fastify({ ...OPTIONS, schemaController: { compilersFactory: NO_SCHEMAS } });
  guard(app, parts);

  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/readyz', (_request, reply) => {
    const readiness = source.ready();
    return reply.code(readiness.ready ? 200 : 503).send(readiness);
  });
  app.get('/metrics', async (_request, reply) =>
    reply.type(METRICS_CONTENT_TYPE).send(await metrics.render()),
  );
  app.get('/status', () => source.status());
  app.get('/config', () => source.config());
  app.get('/explain', async (request, reply) => {
    const parsed = parseExplainQuery(new URL(request.url, 'http://admin').searchParams);
    if (!('method' in parsed)) return sendError(reply, 400, 'bad_request', parsed.join('; '));
    return source.explain(parsed);
  });

  const sendDashboard = (reply: FastifyReply) =>
    reply
      .header('content-security-policy', parts.dashboard.contentSecurityPolicy)
      .type('text/html; charset=utf-8')
      .send(parts.dashboard.html);
  app.get('/', (_request, reply) => sendDashboard(reply));
  // Our own page, asking the other node for data: its paths are relative.
  app.get('/nodes/:node/', (_request, reply) => sendDashboard(reply));
  app.get<{ Params: { node: string } }>('/nodes/:node', (request, reply) =>
    reply.redirect(`${encodeURIComponent(request.params.node)}/`),
  );
  let relay: Promise<FastifyInstance> | undefined;
  app.get('/nodes/:node/*', async (request, reply) => {
    const { routing } = await (relay ??= startRelay(parts));
    reply.hijack();
    routing(request.raw, reply.raw);
  });
  app.addHook('onClose', async () => (await relay)?.close());
  return app;
}

/** Loaded when another node is first asked for: the proxy and what it brings are 7 MB that most gateways never need. */
async function startRelay(parts: AdminParts): Promise<FastifyInstance> {
  const { relayNodes } = await import('./relay.ts');
  const app = fastify(OPTIONS);
  guard(app, parts);
  relayNodes(app, parts.source, parts.log);
  await app.ready();
  return app;
}

function guard(app: FastifyInstance, { log, mayAnswer }: AdminParts): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(HEADERS);
    if (!mayAnswer(request.headers.host)) {
      const message = `this admin API does not answer to the Host ${JSON.stringify(request.headers.host ?? '')}; use localhost or its address`;
      return sendError(reply, 403, 'forbidden_host', message);
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      reply.header('allow', 'GET, HEAD');
      return sendError(reply, 405, 'method_not_allowed', 'the admin API is read-only: GET or HEAD');
    }
  });
  app.setNotFoundHandler((request, reply) =>
    sendError(reply, 404, 'not_found', `no ${request.url.split('?', 1)[0]} here; see /`),
  );
  app.setErrorHandler((error: Error & { readonly statusCode?: number }, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status < 500) return sendError(reply, status, 'bad_request', error.message);
    log.warn({ url: request.url, error: messageOf(error) }, 'admin request failed');
    if (error instanceof MeshError) return sendError(reply, 503, error.code, error.message);
    return sendError(reply, 500, 'internal', 'failed; the log of the gateway says why');
  });
}

function sendError(reply: FastifyReply, status: number, error: string, message: string) {
  return reply.code(status).send({ error, message });
}
