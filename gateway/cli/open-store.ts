import { existsSync } from 'node:fs';
import { createLog } from '#kit/log.ts';
import { describe } from '#kit/problem.ts';
import { openEmbeddedStore } from '../../registry/store/embedded.ts';
import { openEtcdStore } from '../../registry/store/etcd.ts';
import type { Store } from '../../registry/store/store.ts';
import { loadGatewayConfig, type RegistryConfig } from '../config.ts';
import { DEFAULT_PREFIX } from '../config/schema.ts';
import { usageError } from '#kit/flags.ts';

/** Flags of every command that works on the registry itself; those of etcd as with `gatemesh ca serve`. */
export const STORE_FLAGS = {
  config: { type: 'string' },
  etcd: { type: 'string', multiple: true },
  prefix: { type: 'string' },
  'etcd-ca': { type: 'string' },
  'etcd-cert': { type: 'string' },
  'etcd-key': { type: 'string' },
  embedded: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

export const STORE_USAGE = `\
  --config FILE  take the registry from this gateway's file; default $GATEMESH_CONFIG, else /etc/gatemesh/gateway.yaml
  --etcd URL[,URL] [--prefix ${DEFAULT_PREFIX}] [--etcd-ca FILE] [--etcd-cert FILE --etcd-key FILE]
                 the registry is this etcd instead; default $GATEMESH_ETCD unless there is --config; may be repeated
  --embedded FILE
                 the registry is this embedded one instead
  --json         print JSON`;

const DEFAULT_FILE = '/etc/gatemesh/gateway.yaml';

export interface StoreFlags {
  readonly config?: string | undefined;
  readonly etcd?: readonly string[] | undefined;
  readonly prefix?: string | undefined;
  readonly 'etcd-ca'?: string | undefined;
  readonly 'etcd-cert'?: string | undefined;
  readonly 'etcd-key'?: string | undefined;
  readonly embedded?: string | undefined;
}

/**
 * @param command as typed, for messages: `gatemesh get`
 * @throws MeshError when flags or file are wrong (exit code 64) or the registry cannot be reached (69)
 */
export async function openStore(
  command: string,
  flags: StoreFlags,
  env: NodeJS.ProcessEnv,
): Promise<Store> {
  // Standard output is for the command's own lines.
  const log = createLog({ level: env['GATEMESH_LOG_LEVEL'] ?? 'error', fd: 2 });
  const registry = await registryOf(command, flags, env);
  return registry.kind === 'etcd'
    ? openEtcdStore({ ...registry, log })
    : openEmbeddedStore({ file: registry.file, log });
}

async function registryOf(
  command: string,
  flags: StoreFlags,
  env: NodeJS.ProcessEnv,
): Promise<RegistryConfig> {
  const places = (['config', 'etcd', 'embedded'] as const).filter((name) => flags[name]);
  if (places.length > 1) {
    const got = places.map((name) => `--${name}`).join(' and ');
    throw usageError(command, `wanted one registry; got ${got}`, `\n${STORE_USAGE}`);
  }
  if (flags.embedded !== undefined) {
    // Opening would make it, and an empty registry is not what was asked about.
    if (existsSync(flags.embedded)) return { kind: 'embedded', file: flags.embedded };
    throw usageError(command, `--embedded: there is no file ${flags.embedded}`, `\n${STORE_USAGE}`);
  }
  const fromEnv = flags.config === undefined ? env['GATEMESH_ETCD'] : undefined;
  const said = flags.etcd ?? (fromEnv ? [fromEnv] : undefined);
  if (said !== undefined) return etcdOf(command, said, flags);
  const onlyEtcd = (['prefix', 'etcd-ca', 'etcd-cert', 'etcd-key'] as const).find(
    (name) => flags[name] !== undefined,
  );
  if (onlyEtcd !== undefined) {
    const problem = `--${onlyEtcd} goes with --etcd URL; got none`;
    throw usageError(command, problem, `\n${STORE_USAGE}`);
  }
  const file = flags.config ?? (env['GATEMESH_CONFIG'] || DEFAULT_FILE);
  return (await loadGatewayConfig(file)).registry;
}

function etcdOf(command: string, said: readonly string[], flags: StoreFlags): RegistryConfig {
  const { prefix = DEFAULT_PREFIX } = flags;
  const { 'etcd-ca': caFile, 'etcd-cert': certFile, 'etcd-key': keyFile } = flags;
  const isSecure = (caFile ?? certFile ?? keyFile) !== undefined;
  const from = flags.etcd === undefined ? '$GATEMESH_ETCD' : '--etcd';
  const wrong = (problem: string) => usageError(command, problem, `\n${STORE_USAGE}`);
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw wrong('wanted --etcd-cert and --etcd-key together; got one of them');
  }
  const endpoints = said
    .flatMap((list) => list.split(','))
    .map((text) => {
      const url = text.includes('://') ? text : `${isSecure ? 'https' : 'http'}://${text}`;
      const parsed = URL.canParse(url) ? new URL(url) : undefined;
      const isUrl = parsed !== undefined && ['http:', 'https:'].includes(parsed.protocol);
      if (!isUrl || parsed.host === '' || parsed.pathname !== '/') {
        throw wrong(
          `${from}: wanted an address such as "https://10.0.0.10:2379"; got ${describe(text)}`,
        );
      }
      if (isSecure && parsed.protocol === 'http:') {
        throw wrong(`${from}: wanted https, since there are TLS files; got ${describe(text)}`);
      }
      return parsed.origin;
    });
  return {
    kind: 'etcd',
    endpoints,
    prefix,
    ...(caFile === undefined ? {} : { caFile }),
    ...(certFile === undefined || keyFile === undefined ? {} : { certFile, keyFile }),
  };
}
