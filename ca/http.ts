import type { FastifyError, FastifyServerOptions } from 'fastify';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { Refusal } from './issue.ts';

/** Common to the HTTPS server and the local socket: limits, strict schemas, and how an error is answered. */

/** A node with 128 services asks in about 100 KiB. */
const BODY_LIMIT_BYTES = 256 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;

export const SERVER_OPTIONS = {
  bodyLimit: BODY_LIMIT_BYTES,
  requestTimeout: REQUEST_TIMEOUT_MS,
  keepAliveTimeout: 5_000,
  forceCloseConnections: true,
  logger: false,
  // Fastify's defaults turn "1" into 1 and drop unknown fields in silence.
  ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false } },
} as const satisfies FastifyServerOptions;

const STATUS: Readonly<Record<string, number>> = {
  token_malformed: 400,
  enrol_without_node: 400,
  ttl_not_allowed: 400,
  certificate_required: 401,
  certificate_refused: 401,
  token_refused: 403,
  rate_limited: 429,
  store_unreachable: 503,
  ca_ledger_unwritable: 503,
};

export interface ErrorAnswer {
  readonly status: number;
  readonly body: { readonly error: string; readonly message: string };
}

/** What a failed request is answered with. The only place that gives an error its status. */
export function answerFor(error: unknown, path: string, log: Log): ErrorAnswer {
  if (error instanceof MeshError) {
    const { code, message } = error;
    const status = error instanceof Refusal ? error.status : (STATUS[code] ?? 500);
    if (status >= 500) log.error({ code, path }, message);
    return { status, body: { error: code, message } };
  }
  // Fastify's own: a body that is too large, no JSON, or not as the schema says.
  const status = (error as Partial<FastifyError>).statusCode ?? 500;
  if (status < 500) {
    return { status, body: { error: 'request_malformed', message: messageOf(error) } };
  }
  log.error({ path }, messageOf(error));
  const message = 'the CA failed on this request; its log says why';
  return { status: 500, body: { error: 'internal', message } };
}

export const NOT_FOUND = { error: 'not_found', message: 'there is no such path here' } as const;
