import { lookup } from 'node:dns/promises';
import net from 'node:net';
import { getSystemErrorName } from 'node:util';
import { formatAddress, type Address } from '#kit/address.ts';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';

/**
 * Listening sockets owned by the supervisor and served by the workers: bound here and handed down as native handles,
 * so a worker's death closes nothing. The kernel queues connections until the next worker takes them.
 *
 * All that is undocumented about Node stays in this file: `net._createServerHandle` (what node:cluster itself binds
 * with; it gives a TCP handle, or minus errno) and `child.send(message, handle)` for such a raw handle.
 */
export interface ListenSocket {
  /** What is bound: the port is the real one where 0 was asked for. */
  readonly address: Address;
  /** For `child.send`; opaque to everyone else. */
  readonly handle: SendableHandle;
  /** Closes the supervisor's copy; the port is free once every worker has closed its own. */
  close(): void;
}

/** What `ChildProcess.send` takes as a handle. */
export type SendableHandle = net.Server;

interface TcpHandle {
  /** 0 or minus errno; fills `out`. */
  getsockname(out: { address?: string; port?: number }): number;
  close(): void;
}

type CreateServerHandle = (
  address: string,
  port: number,
  addressType: 4 | 6,
  fd: number,
  flags: number,
) => TcpHandle | number;

/**
 * Binds without accepting.
 *
 * @param setting where the address was written, for the message: `mesh.listen in /etc/gatemesh/gateway.yaml`
 * @throws MeshError `listen_failed`: in use (exit code 1); not allowed or not an address of this machine (exit code 64)
 */
export async function bindListener(wanted: Address, setting: string): Promise<ListenSocket> {
  const { address, family } = await resolveHost(wanted, setting);
  const create = (net as unknown as { readonly _createServerHandle: CreateServerHandle })
    ._createServerHandle;
  const handle = create(address, wanted.port, family === 6 ? 6 : 4, -1, 0);
  if (typeof handle === 'number') throw listenFailed(wanted, setting, handle);

  // libuv keeps "address in use" back until the socket is used; asking for the name brings it out.
  const bound: { address?: string; port?: number } = {};
  const failed = handle.getsockname(bound);
  if (failed !== 0) {
    handle.close();
    throw listenFailed(wanted, setting, failed);
  }
  return {
    address: { host: wanted.host, port: bound.port ?? wanted.port },
    handle: handle as unknown as SendableHandle,
    close: () => handle.close(),
  };
}

async function resolveHost(
  { host }: Address,
  setting: string,
): Promise<{ address: string; family: number }> {
  const family = net.isIP(host);
  if (family !== 0) return { address: host, family };
  try {
    return await lookup(host);
  } catch (error) {
    throw new MeshError(
      'listen_failed',
      `cannot listen on ${host} (${setting}): wanted an address of this machine; ${messageOf(error)}`,
      { cause: error, exitCode: EXIT.usage },
    );
  }
}

const WHAT_TO_DO: Readonly<Record<string, string>> = {
  EADDRINUSE:
    'is in use by another process ("ss -ltnp" shows which); stop that one or choose another port',
  EACCES: 'may not be bound by this user; ports below 1024 need CAP_NET_BIND_SERVICE',
  EADDRNOTAVAIL: 'is not an address of this machine ("ip address" lists them)',
};

/** The one message for an address that cannot be listened on. Also for what only `listen` itself, in the worker, can tell. */
export function listenFailed(wanted: Address, setting: string, error: number | string): MeshError {
  const name =
    typeof error === 'number'
      ? getSystemErrorName(error)
      : (/E[A-Z]{3,}/.exec(error)?.[0] ?? error);
  const what = WHAT_TO_DO[name] ?? `cannot be bound: ${name}`;
  return new MeshError('listen_failed', `${formatAddress(wanted)} (${setting}) ${what}`, {
    // A port may be free again in a moment, and systemd starts the gateway again then; it never does after a 64.
    exitCode: name === 'EADDRINUSE' ? EXIT.failed : EXIT.usage,
  });
}
