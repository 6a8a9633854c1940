import type { RequestOptions } from 'node:http';
import { request } from '#kit/http.ts';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import { describe } from '#kit/problem.ts';
import { usageError } from '#kit/flags.ts';
import { printable } from './format.ts';

/** Flags of every command that looks through the admin API. */
export const ADMIN_FLAGS = {
  admin: { type: 'string' },
  socket: { type: 'string' },
  node: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

export const ADMIN_USAGE = `\
  --admin URL    admin API to ask; default $GATEMESH_ADMIN (a URL or a socket's path), else http://127.0.0.1:15000
  --socket PATH  ask on this Unix socket instead
  --node NODE    ask that node, through this one
  --json         print JSON`;

const DEFAULT = 'http://127.0.0.1:15000';
const TIMEOUT_MS = 5_000;
/** A whole mesh's /config is far smaller. */
const MAX_BODY = 64 * 1024 * 1024;

/** Which admin API to ask. */
export interface AdminAt {
  /** For messages. */
  readonly name: string;
  readonly options: RequestOptions;
  /** `/nodes/<node>`, or nothing for the node itself. */
  readonly prefix: string;
}

export interface AdminFlags {
  readonly admin?: string | undefined;
  readonly socket?: string | undefined;
  readonly node?: string | undefined;
}

/** @throws MeshError `usage` for two addresses, or one that cannot be meant */
export function adminAt(
  command: string,
  flags: AdminFlags,
  env: NodeJS.ProcessEnv,
  usage: string,
): AdminAt {
  const { admin, socket, node } = flags;
  if (admin !== undefined && socket !== undefined) {
    throw usageError(command, 'wanted --admin or --socket; got both', usage);
  }
  const prefix = node === undefined ? '' : `/nodes/${encodeURIComponent(node)}`;
  const given = socket ?? admin ?? (env['GATEMESH_ADMIN'] || DEFAULT);
  if (socket !== undefined || given.startsWith('/')) {
    return { name: given, options: { socketPath: given }, prefix };
  }
  // `127.0.0.1:15000`, as configurations have it, can only be meant to be http.
  const text = given.includes('://') ? given : `http://${given}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'http:') {
    const from = admin === undefined ? '$GATEMESH_ADMIN' : '--admin';
    throw usageError(
      command,
      `${from}: wanted a URL such as ${DEFAULT}; got ${describe(given)}`,
      usage,
    );
  }
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { name: url.origin, options: { host, port: url.port || 80 }, prefix };
}

/**
 * One JSON answer of the admin API, within 5 s.
 *
 * @throws MeshError `admin_unreachable` (exit code 69) when nobody answers; `admin_refused` with the API's own message
 */
export async function askAdmin(at: AdminAt, path: string): Promise<unknown> {
  const { status, body } = await get(at, at.prefix + path).catch((cause: unknown) => {
    throw unreachable(at, cause);
  });
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch (cause) {
    throw unreachable(
      at,
      new Error(`it answered ${status} without JSON: not a gatemesh admin API?`, { cause }),
    );
  }
  if (status === 200) return answer;
  throw refused(at, status, answer);
}

/** The API's own `{"error", "message"}`; a node that could not be reached through it counts as unreachable. */
function refused(at: AdminAt, status: number, answer: unknown): MeshError {
  const fields: Readonly<Record<string, unknown>> = Object(answer);
  const text =
    typeof fields['message'] === 'string' ? printable(fields['message']) : `status ${status}`;
  const unreached = fields['error'] === 'node_unreachable';
  // 400 is about what was typed.
  const exitCode = unreached ? EXIT.unreachable : status === 400 ? EXIT.usage : EXIT.failed;
  return new MeshError('admin_refused', `${at.name}: ${text}`, { exitCode });
}

function unreachable(at: AdminAt, cause: unknown): MeshError {
  const message = `no admin API at ${at.name} (${messageOf(cause)}); is the gateway running here (systemctl status gatemesh)? Another address: --admin URL, --socket PATH or GATEMESH_ADMIN`;
  return new MeshError('admin_unreachable', message, { cause, exitCode: EXIT.unreachable });
}

function get(at: AdminAt, path: string): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const fail = (error: Error) =>
    reject(signal.aborted ? new Error(`no answer within ${TIMEOUT_MS / 1_000} s`) : error);
  const req = request({ ...at.options, path, signal, agent: false }, (response) => {
    let body = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      body += chunk;
      if (body.length > MAX_BODY) req.destroy(new Error('the answer is too large'));
    });
    response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    response.on('error', fail);
  });
  req.on('error', fail);
  req.end();
  return promise;
}
