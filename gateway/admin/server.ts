import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { formatAddress, type Address } from '#kit/address.ts';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { buildAdmin } from './app.ts';
import { loadDashboard } from './dashboard.ts';
import { mayAnswer } from './host.ts';
import { Metrics } from './metrics.ts';
import type { AdminSource } from './source.ts';

export interface AdminOptions {
  /** Port 0 asks for a free one. */
  readonly listen: Address;
  /** Path of a Unix socket that serves the same, mode 0660. */
  readonly socket?: string;
  readonly log: Log;
}

export interface Admin {
  /** Where the TCP listener really is. */
  readonly address: Address;
  /** Stops listening, ends idle connections, lets requests in flight finish. */
  close(): Promise<void>;
}

/**
 * Starts the admin API on TCP and, when asked, on a Unix socket. All or nothing.
 *
 * @throws MeshError `admin_listen` when an address or the socket cannot be had
 */
export async function startAdmin(source: AdminSource, options: AdminOptions): Promise<Admin> {
  const { listen, socket, log } = options;
  const shared = { source, log, metrics: new Metrics(source, log), dashboard: loadDashboard() };
  const tcp = buildAdmin({ ...shared, mayAnswer: (host) => mayAnswer(host, listen) });
  const apps = [tcp];
  const close = async () => void (await Promise.all(apps.map((app) => app.close())));
  try {
    await listenOn(tcp, { host: listen.host, port: listen.port }, formatAddress(listen));
    if (socket !== undefined) {
      const unix = buildAdmin({ ...shared, mayAnswer: () => true });
      apps.push(unix);
      await removeStale(socket);
      await listenOn(unix, { path: socket }, socket);
      await chmod(socket, 0o660);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { address: { host: listen.host, port: boundPort(tcp) }, close };
}

function boundPort(app: FastifyInstance): number {
  const bound = app.server.address();
  if (bound === null || typeof bound === 'string') throw new Error('not listening on TCP');
  return bound.port;
}

const WHAT_TO_DO: Readonly<Record<string, string>> = {
  EADDRINUSE:
    'another program listens there: stop it (ss -lptn shows it) or change "admin" in the gateway file',
  EADDRNOTAVAIL: 'this machine has no such address: correct "admin.listen" in the gateway file',
  EACCES:
    'no permission: check the directory, or take a port above 1023, in "admin" of the gateway file',
  ENOENT: 'its directory does not exist: create it, or correct "admin.socket" in the gateway file',
};

async function listenOn(
  app: FastifyInstance,
  where: { host: string; port: number } | { path: string },
  name: string,
): Promise<void> {
  try {
    await app.listen(where);
  } catch (cause) {
    throw listenError(name, cause);
  }
}

function listenError(name: string, cause: unknown): MeshError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const what = WHAT_TO_DO[code] ?? 'check "admin" in the gateway file';
  return new MeshError(
    'admin_listen',
    `admin: cannot listen on ${name} (${messageOf(cause)}); ${what}`,
    { cause },
  );
}

/** A socket file survives a `kill -9`; it goes only when nobody answers on it, and only if it is a socket. */
async function removeStale(path: string): Promise<void> {
  const file = await lstat(path).catch(() => undefined);
  if (file === undefined) return;
  if (!file.isSocket()) {
    throw listenError(path, new Error('there is a file that is not a socket'));
  }
  if (await answers(path)) {
    throw listenError(path, Object.assign(new Error('in use'), { code: 'EADDRINUSE' }));
  }
  await unlink(path);
}

function answers(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ path });
  socket.once('connect', () => resolve(true));
  // Only a refusal proves that nobody listens; no permission, for one, proves nothing.
  socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  return promise.finally(() => socket.destroy());
}
