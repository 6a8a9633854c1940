import httpProxy from '@fastify/http-proxy';
import { fastify } from 'fastify';

/** `node fastify-hop.ts PORT ORIGIN_PORT`: what the usual framework costs as a proxy. */
const [port, origin] = process.argv.slice(2).map(Number);

const app = fastify({ logger: false });
await app.register(httpProxy, { upstream: `http://127.0.0.1:${origin}` });
await app.listen({ host: '127.0.0.1', port: port! });
