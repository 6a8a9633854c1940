import { once } from 'node:events';
import { join } from 'node:path';
import { ADDRESS_WANTED, formatAddress, parseAddress } from '#kit/address.ts';
import { systemClock } from '#kit/clock.ts';
import { EXIT, type ExitCode } from '#kit/errors.ts';
import { parseFlags, usageError } from '#kit/flags.ts';
import { createLog, type Log } from '#kit/log.ts';
import { openEmbeddedStore } from '../registry/store/embedded.ts';
import { openEtcdStore } from '../registry/store/etcd.ts';
import type { Store } from '../registry/store/store.ts';
import { Authority } from './authority.ts';
import { durationFlag, noWords, readPassphrase, required } from './cli-flags.ts';
import { DEFAULT_LISTEN, DEFAULT_PREFIX, SERVE_USAGE } from './cli-usage.ts';
import { FILES, readAuthority } from './directory.ts';
import { startLocalSocket } from './local-socket.ts';
import { DEFAULT_LEAF_TTL_MS, MAX_LEAF_TTL_MS, MIN_LEAF_TTL_MS } from './policy.ts';
import { publishAuthority } from './publish.ts';
import { startCaServer } from './server.ts';

const OPTIONS = {
  dir: { type: 'string' },
  listen: { type: 'string', default: DEFAULT_LISTEN },
  socket: { type: 'string' },
  'leaf-ttl': { type: 'string' },
  'passphrase-file': { type: 'string' },
  etcd: { type: 'string' },
  prefix: { type: 'string', default: DEFAULT_PREFIX },
  'etcd-ca': { type: 'string' },
  'etcd-cert': { type: 'string' },
  'etcd-key': { type: 'string' },
  embedded: { type: 'string' },
} as const;

/** `gatemesh ca serve`: runs until SIGTERM or SIGINT. */
export async function runServe(argv: readonly string[]): Promise<ExitCode> {
  const command = 'gatemesh ca serve';
  const { values, positionals } = parseFlags(command, argv, OPTIONS, SERVE_USAGE);
  noWords(command, positionals, SERVE_USAGE);
  const dir = required(values.dir, command, '--dir', SERVE_USAGE);
  const listen = parseAddress(values.listen);
  if (listen === undefined) {
    const problem = `--listen: wanted ${ADDRESS_WANTED}; got "${values.listen}"`;
    throw usageError(command, problem, SERVE_USAGE);
  }
  const leafTtlMs =
    durationFlag(command, '--leaf-ttl', values['leaf-ttl'], SERVE_USAGE) ?? DEFAULT_LEAF_TTL_MS;
  if (leafTtlMs < MIN_LEAF_TTL_MS || leafTtlMs > MAX_LEAF_TTL_MS) {
    throw usageError(command, '--leaf-ttl: wanted a duration from 2s to 30d', SERVE_USAGE);
  }
  if (values.etcd !== undefined && values.embedded !== undefined) {
    throw usageError(command, 'wanted one of --etcd and --embedded; got both', SERVE_USAGE);
  }
  const passphrase = await readPassphrase(values['passphrase-file']);
  // Before anything is opened or made: a folder without an authority must stay as it is.
  await readAuthority(dir);

  const log = createLog();
  const clock = systemClock;
  // Before the slow part, so that a stop during the start is not lost.
  const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  const store = await openStore(values, dir, log);
  const authority = await Authority.open({ dir, passphrase, leafTtlMs, store, clock, log });
  const socket = values.socket ?? join(dir, FILES.socket);
  const closeSocket = await startLocalSocket(authority, socket, log);
  const server = await startCaServer({ authority, listen, clock, log });
  const stopPublishing = publishAuthority(authority.directory, store, clock, log);
  log.info(
    {
      listen: formatAddress(server.address),
      socket,
      trustDomain: authority.bundle.trustDomain,
      fingerprint: authority.directory.roots[0]!.fingerprint,
      registry: store.name,
    },
    'the CA is ready',
  );

  await stopped;
  log.info('the CA stops');
  stopPublishing();
  await server.close();
  await closeSocket();
  await authority.close();
  await store.close();
  return EXIT.done;
}

interface StoreFlags {
  readonly etcd?: string;
  readonly prefix: string;
  readonly 'etcd-ca'?: string;
  readonly 'etcd-cert'?: string;
  readonly 'etcd-key'?: string;
  readonly embedded?: string;
}

function openStore(flags: StoreFlags, dir: string, log: Log): Promise<Store> {
  if (flags.etcd === undefined) {
    return openEmbeddedStore({ file: flags.embedded ?? join(dir, FILES.registry), log });
  }
  const { 'etcd-ca': caFile, 'etcd-cert': certFile, 'etcd-key': keyFile } = flags;
  return openEtcdStore({
    endpoints: flags.etcd.split(','),
    prefix: flags.prefix,
    ...(caFile === undefined ? {} : { caFile }),
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
    log,
  });
}
