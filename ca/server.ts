import { constants } from 'node:crypto';
import type { ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import Fastify from 'fastify';
import { formatAddress, type Address } from '#kit/address.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { systemRng } from '#kit/rng.ts';
import type { Authority, WantedCertificate } from './authority.ts';
import { answerFor, NOT_FOUND, SERVER_OPTIONS } from './http.ts';
import { checkSvid, type Identity } from './identity.ts';
import { toPem } from './pem.ts';
import { authorityServerNames } from './profile.ts';
import { RateLimit } from './rate-limit.ts';
import { renewAtMs } from './renewal.ts';
import { generateSigner } from './signer.ts';

/** Requests of one address: a rack that restarts together gets through, a flood does not. */
const BURST = 100;
const PER_SECOND = 20;

const MAX_BATCH = 130;
const CSRS = {
  type: 'array',
  minItems: 1,
  maxItems: MAX_BATCH,
  items: {
    type: 'object',
    required: ['identity', 'csr'],
    additionalProperties: false,
    properties: {
      identity: { type: 'string', maxLength: 2048 },
      csr: { type: 'string', maxLength: 16_384 },
    },
  },
} as const;
const ENROL_BODY = {
  type: 'object',
  required: ['token', 'csrs'],
  additionalProperties: false,
  properties: { token: { type: 'string', maxLength: 512 }, csrs: CSRS },
} as const;
const RENEW_BODY = {
  type: 'object',
  required: ['csrs'],
  additionalProperties: false,
  properties: { csrs: CSRS },
} as const;

/** The authority over HTTPS: `POST /v1/enrol`, `POST /v1/renew` (mTLS), `GET /v1/bundle`, `GET /healthz`. */
export interface CaServer {
  readonly address: Address;
  close(): Promise<void>;
}

/** @throws MeshError `listen_failed` */
export async function startCaServer(options: {
  readonly authority: Authority;
  readonly listen: Address;
  readonly clock: Clock;
  readonly log: Log;
}): Promise<CaServer> {
  const { authority, listen, clock, log } = options;
  const own = serverCertificate(authority);
  const server = Fastify({ ...SERVER_OPTIONS, https: own.context });
  const limit = new RateLimit(BURST, PER_SECOND);
  server.setErrorHandler((error, request, reply) => {
    const { status, body } = answerFor(error, request.url, log);
    return reply.code(status).send(body);
  });
  server.setNotFoundHandler((_request, reply) => reply.code(404).send(NOT_FOUND));

  server.addHook('onRequest', async (request, reply) => {
    if (request.url === '/healthz' || limit.take(request.ip, clock.now())) return;
    reply.header('retry-after', '1');
    throw new MeshError('rate_limited', `too many requests from ${request.ip}: try again in 1 s`);
  });
  server.get('/healthz', async () => ({ status: 'ok' }));
  server.get('/v1/bundle', async () => authority.bundle);
  server.post<{ Body: { token: string; csrs: readonly WantedCertificate[] } }>(
    '/v1/enrol',
    { schema: { body: ENROL_BODY } },
    async ({ body, ip }) => authority.enrol(body.token, body.csrs, ip),
  );
  server.post<{ Body: { csrs: readonly WantedCertificate[] } }>(
    '/v1/renew',
    { schema: { body: RENEW_BODY } },
    async ({ body, raw }) => {
      const holder = holderOf(raw.socket as TLSSocket, authority.bundle.trustDomain, clock);
      return authority.renew(holder, body.csrs);
    },
  );

  try {
    await server.listen({ host: listen.host, port: listen.port });
  } catch (cause) {
    const inUse = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE';
    const why = inUse ? 'the port is in use by another process' : messageOf(cause);
    throw new MeshError(
      'listen_failed',
      `the CA cannot listen on ${formatAddress(listen)}: ${why}. Free it, or choose another with --listen`,
      { cause },
    );
  }
  const stopRotation = rotateInPlace(own, authority, clock, (context) => {
    server.server.setSecureContext(context);
    log.info('the CA has a new server certificate');
  });
  const { address, port } = server.server.address() as AddressInfo;
  return {
    address: { host: address, port },
    close: async () => {
      stopRotation();
      await server.close();
    },
  };
}

/** Who holds the certificate of this connection, judged now: a connection may outlive its certificate. */
function holderOf(socket: TLSSocket, trustDomain: string, clock: Clock): Identity {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    throw new MeshError(
      'certificate_required',
      'to renew, connect with the current certificate; without one, enrol with a token',
    );
  }
  const check = checkSvid(certificate.raw, trustDomain);
  if (check.ok && check.notAfterMs <= clock.wallMs()) {
    throw new MeshError(
      'certificate_refused',
      `the certificate ended at ${new Date(check.notAfterMs).toISOString()}: enrol again with a new token`,
    );
  }
  if (!socket.authorized || !check.ok) {
    const why = check.ok ? String(socket.authorizationError) : check.why;
    throw new MeshError('certificate_refused', `the certificate is not accepted: ${why}`);
  }
  return check.identity;
}

interface ServerCertificate {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly context: ServerOptions;
}

/** The chain includes the root, so that a client that knows only its fingerprint can tell it. */
function serverCertificate(authority: Authority): ServerCertificate {
  const { trustDomain, issuer, roots } = authority.directory;
  const { signer, pem } = generateSigner();
  const leaf = authority.serverLeaf(authorityServerNames(trustDomain), signer.spki);
  const chain = toPem('CERTIFICATE', leaf.der) + issuer.pem + roots[0]!.pem;
  const { notBeforeMs, notAfterMs } = leaf;
  return { notBeforeMs, notAfterMs, context: tlsContext(chain, pem, authority.bundle.rootsPem) };
}

function tlsContext(cert: string, key: string, rootsPem: readonly string[]): ServerOptions {
  return {
    cert,
    key,
    ca: [...rootsPem],
    minVersion: 'TLSv1.3',
    requestCert: true,
    // Enrolment comes without a certificate; /v1/renew insists on a verified one itself.
    rejectUnauthorized: false,
    // A resumed session is not verified again: it would be good after its certificate ended.
    secureOptions: constants.SSL_OP_NO_TICKET,
    handshakeTimeout: 5_000,
    // Without these two Node looks for requests past their time only every 30 s, and takes the smaller of its own 60 s
    // for a head and our time for a request as the time for a head, and the larger one for the request.
    headersTimeout: SERVER_OPTIONS.requestTimeout,
    connectionsCheckingInterval: 1_000,
  };
}

function rotateInPlace(
  first: ServerCertificate,
  authority: Authority,
  clock: Clock,
  swap: (context: ServerCertificate['context']) => void,
): Cancel {
  let cancel: Cancel = () => {};
  const schedule = (current: ServerCertificate): void => {
    const dueMs = renewAtMs(current, systemRng());
    const look = (): void => {
      if (clock.wallMs() < dueMs) {
        cancel = clock.after(Math.min(dueMs - clock.wallMs(), LOOK_MS), look);
        return;
      }
      const next = serverCertificate(authority);
      swap(next.context);
      schedule(next);
    };
    look();
  };
  schedule(first);
  return () => cancel();
}

/** Wall time may jump; a timer alone would not notice. */
const LOOK_MS = 30_000;
