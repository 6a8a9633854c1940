import { createLog } from '#kit/log.ts';
import { openEmbeddedStore } from '../../registry/store/embedded.ts';
import { openEtcdStore } from '../../registry/store/etcd.ts';
import type { Store } from '../../registry/store/store.ts';
import { loadGatewayConfig, type RegistryConfig } from '../config.ts';
import { DEFAULT_PREFIX } from '../config/schema.ts';

/** Flags of every command that works on the registry itself. */
export const STORE_FLAGS = {
  config: { type: 'string' },
  etcd: { type: 'string', multiple: true },
  prefix: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

export const STORE_USAGE = `\
  --config FILE  take the registry from this gateway's file; default $GATEMESH_CONFIG, else /etc/gatemesh/gateway.yaml
  --etcd URL     the registry is this etcd instead; may be repeated
  --prefix KEYS  with --etcd: default ${DEFAULT_PREFIX}
  --json         print JSON`;

const DEFAULT_FILE = '/etc/gatemesh/gateway.yaml';

export interface StoreFlags {
  readonly config?: string | undefined;
  readonly etcd?: readonly string[] | undefined;
  readonly prefix?: string | undefined;
}

/** @throws MeshError when the file is wrong (exit code 64) or the registry cannot be reached (69) */
export async function openStore(flags: StoreFlags, env: NodeJS.ProcessEnv): Promise<Store> {
  // Standard output is for the command's own lines.
  const log = createLog({ level: env['GATEMESH_LOG_LEVEL'] ?? 'error', fd: 2 });
  const registry = await registryOf(flags, env);
  return registry.kind === 'etcd'
    ? openEtcdStore({ ...registry, log })
    : openEmbeddedStore({ file: registry.file, log });
}

async function registryOf(flags: StoreFlags, env: NodeJS.ProcessEnv): Promise<RegistryConfig> {
  const { etcd: endpoints, prefix = DEFAULT_PREFIX } = flags;
  if (endpoints !== undefined) return { kind: 'etcd', endpoints, prefix };
  const file = flags.config ?? (env['GATEMESH_CONFIG'] || DEFAULT_FILE);
  return (await loadGatewayConfig(file)).registry;
}
