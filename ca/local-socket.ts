import { chmod, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import Fastify from 'fastify';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type { Authority, WantedCertificate } from './authority.ts';
import { answerFor, NOT_FOUND, SERVER_OPTIONS } from './http.ts';
import type { Enrolment } from './policy.ts';

/** Owner and group (gatemesh) may sign and mint: file permissions are the authentication. */
const SOCKET_MODE = 0o660;

const NAME = { type: 'string', pattern: '^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$' } as const;
const SIGN_BODY = {
  type: 'object',
  required: ['identity', 'csr'],
  additionalProperties: false,
  properties: {
    identity: { type: 'string', maxLength: 2048 },
    csr: { type: 'string', maxLength: 16_384 },
    ttlMs: { type: 'integer' },
  },
} as const;
const TOKEN_BODY = {
  type: 'object',
  required: ['node', 'services', 'ttlMs'],
  additionalProperties: false,
  properties: {
    node: NAME,
    services: { type: 'array', maxItems: 128, items: NAME },
    gateway: NAME,
    ttlMs: { type: 'integer' },
  },
} as const;

/**
 * The operator's side of a running authority, on a Unix socket: `POST /v1/sign`, `POST /v1/tokens`.
 *
 * @returns closes it
 * @throws MeshError `listen_failed`
 */
export async function startLocalSocket(
  authority: Authority,
  path: string,
  log: Log,
): Promise<() => Promise<void>> {
  const server = Fastify(SERVER_OPTIONS);
  server.setErrorHandler((error, request, reply) => {
    const { status, body } = answerFor(error, request.url, log);
    return reply.code(status).send(body);
  });
  server.setNotFoundHandler((_request, reply) => reply.code(404).send(NOT_FOUND));
  server.post<{ Body: WantedCertificate & { ttlMs?: number } }>(
    '/v1/sign',
    { schema: { body: SIGN_BODY } },
    async ({ body: { ttlMs, ...wanted } }) => authority.sign(wanted, ttlMs),
  );
  server.post<{ Body: Omit<Enrolment, 'gateway'> & { gateway?: string; ttlMs: number } }>(
    '/v1/tokens',
    { schema: { body: TOKEN_BODY } },
    async ({ body: { node, services, gateway, ttlMs } }) =>
      authority.mint({ node, services, gateway }, ttlMs),
  );
  await removeStale(path);
  try {
    await server.listen({ path });
    await chmod(path, SOCKET_MODE);
  } catch (cause) {
    throw new MeshError(
      'listen_failed',
      `the CA cannot listen on ${path}: ${messageOf(cause)}. Choose another with --socket`,
      { cause },
    );
  }
  return () => server.close();
}

/** A socket that nobody answers on is left from a process that was killed. */
async function removeStale(path: string): Promise<void> {
  const answered = await new Promise<boolean>((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
  if (answered) {
    throw new MeshError(
      'listen_failed',
      `another CA answers on ${path} already: stop it, or choose another with --socket`,
    );
  }
  await rm(path, { force: true });
}
