import { join } from 'node:path';
import { z } from 'zod';
import { formatAddress, type Address } from '#kit/address.ts';
import {
  absoluteFile,
  addressWhere,
  choice,
  dialled,
  duration,
  fields,
  flag,
  given,
  integer,
  listOf,
  meta,
  name,
  text,
  weight,
} from '../../registry/documents/fields.ts';
import { isName, NAME_WANTED } from '../../registry/documents/keys.ts';
import { DEFAULT_WEIGHT } from '../../registry/documents/node.ts';
import { jsonPath } from '../../registry/documents/problems.ts';
import type { Check } from '../../registry/documents/types.ts';
import type { GatewayConfig, IdentityConfig, LocalService, RegistryConfig } from './types.ts';

/** Where etcd keeps what is ours; `v1` is the major version of the documents' schema. */
export const DEFAULT_PREFIX = '/gatemesh/v1';

const DEFAULTS = {
  zone: 'default',
  dataDir: '/var/lib/gatemesh',
  workers: 1,

  mesh: { host: '0.0.0.0', port: 15_443 },
  egress: { host: '127.0.0.1', port: 15_001 },
  admin: { host: '127.0.0.1', port: 15_000 },
  // One probe by the local gateway serves the whole mesh, so it may be frequent; rise and fall as in HAProxy.
  check: { intervalMs: 5_000, timeoutMs: 2_000, rise: 2, fall: 3 },
} as const;

const bound = addressWhere(() => true, '');

/** Whoever reaches an egress or admin address acts in this node's name. */
const loopback = addressWhere(
  ({ host }) => host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host),
  ' of this machine only (127.0.0.0/8, ::1)',
);

function urlWhere(wanted: string, protocols: readonly string[]) {
  return z.string({ error: wanted }).transform((value, context): string => {
    const url = URL.parse(value);
    const bare =
      url !== null && url.pathname === '/' && url.search + url.hash + url.username === '';
    if (bare && protocols.includes(url.protocol)) return value.replace(/\/$/, '');
    context.addIssue({ code: 'custom', message: wanted });
    return z.NEVER;
  });
}

const PREFIX_WANTED = 'a prefix of keys such as "/gatemesh/v1"';

const etcd = fields({
  endpoints: listOf(
    urlWhere('an address such as "https://10.0.0.10:2379"', ['http:', 'https:']),
    'a list of at least one address such as "https://10.0.0.10:2379"',
    1,
  ),
  prefix: z.exactOptional(
    text(200, PREFIX_WANTED).regex(/^(?:\/[A-Za-z0-9._-]+)+$/, { error: PREFIX_WANTED }),
  ),
  caFile: z.exactOptional(absoluteFile),
  certFile: z.exactOptional(absoluteFile),
  keyFile: z.exactOptional(absoluteFile),
}).superRefine(({ endpoints, caFile, certFile, keyFile }, context) => {
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const path = [certFile === undefined ? 'certFile' : 'keyFile'];
    context.addIssue({ code: 'custom', path, message: 'certFile and keyFile together' });
  }
  const secure = endpoints.filter((endpoint) => endpoint.startsWith('https:')).length;
  if (secure !== 0 && secure !== endpoints.length) {
    const params = { got: 'both' };
    context.addIssue({
      code: 'custom',
      path: ['endpoints'],
      message: 'only http or only https',
      params,
    });
  }
  if (secure === 0 && (caFile ?? certFile) !== undefined) {
    const message = 'https endpoints, since there are TLS files';
    context.addIssue({ code: 'custom', path: ['endpoints'], message, params: { got: 'http' } });
  }
});

const MEMORY = ':memory:';
const DATABASE_WANTED = `an absolute path, or "${MEMORY}" to forget everything at the end`;
const embedded = fields({
  file: z.exactOptional(
    text(1_024, DATABASE_WANTED).refine((file) => file === MEMORY || file.startsWith('/'), {
      error: DATABASE_WANTED,
    }),
  ),
});

const registry = fields({
  etcd: z.exactOptional(etcd),
  embedded: z.exactOptional(embedded),
}).superRefine((input, context) => {
  if ((input.etcd === undefined) !== (input.embedded === undefined)) return;
  const params = { got: input.etcd === undefined ? 'neither' : 'both' };
  context.addIssue({ code: 'custom', message: 'one of etcd and embedded', params });
});

const FINGERPRINT_WANTED = '"sha256:" and 64 hex digits, as "gatemesh ca init" prints it';

const identity = fields({
  ca: z.exactOptional(urlWhere('an address such as "https://10.0.0.10:15444"', ['https:'])),
  caFingerprint: z.exactOptional(
    z
      .string({ error: FINGERPRINT_WANTED })
      .regex(/^sha256:[0-9a-f]{64}$/i, { error: FINGERPRINT_WANTED })
      .transform((value) => value.toLowerCase()),
  ),
  tokenFile: z.exactOptional(absoluteFile),
  certFile: z.exactOptional(absoluteFile),
  keyFile: z.exactOptional(absoluteFile),
  bundleFile: z.exactOptional(absoluteFile),
})
  .superRefine(({ ca, caFingerprint, tokenFile, certFile, keyFile, bundleFile }, context) => {
    const add = (field: string, message: string) =>
      context.addIssue({ code: 'custom', path: [field], message });
    const files = { certFile, keyFile, bundleFile };
    const absent = Object.entries(files).filter(([, file]) => file === undefined);
    if (absent.length > 0 && absent.length < 3) {
      for (const [field] of absent) add(field, 'certFile, keyFile and bundleFile together');
    }
    const noFiles = absent.length === 3;
    if (noFiles && tokenFile === undefined) {
      add(
        'tokenFile',
        'the file of a token (gatemesh ca token), or certFile, keyFile and bundleFile',
      );
    }
    if (ca === undefined && (noFiles || (tokenFile ?? caFingerprint) !== undefined)) {
      add('ca', 'the address of the CA such as "https://10.0.0.10:15444"');
    }
  })
  .transform(({ certFile, keyFile, bundleFile, ...rest }): IdentityConfig => ({
    ...rest,
    ...(certFile === undefined || keyFile === undefined || bundleFile === undefined
      ? {}
      : { files: { certFile, keyFile, bundleFile } }),
  }));

const PROBED_PATH_WANTED = 'a path such as "/healthz"';
const check = fields(
  {
    http: z.exactOptional(
      text(1_024, PROBED_PATH_WANTED).regex(/^\/[\x21-\x7e]*$/, { error: PROBED_PATH_WANTED }),
    ),
    tcp: z.exactOptional(z.literal(true, { error: 'true' })),
    interval: z.exactOptional(duration),
    timeout: z.exactOptional(duration),
    rise: z.exactOptional(integer(1, 100)),
    fall: z.exactOptional(integer(1, 100)),
  },
  ['grpc', 'unit'],
)
  .refine(({ http, tcp }) => http === undefined || tcp === undefined, {
    error: 'one of http and tcp',
    params: { got: 'both' },
  })
  .transform(({ http, interval, timeout, rise, fall }): Check => {
    const { check: defaults } = DEFAULTS;
    return {
      ...(http === undefined ? { kind: 'tcp' } : { kind: 'http', path: http }),
      intervalMs: interval ?? defaults.intervalMs,
      timeoutMs: timeout ?? defaults.timeoutMs,
      rise: rise ?? defaults.rise,
      fall: fall ?? defaults.fall,
    };
  });

const USER_WANTED = 'the name of a Unix user such as "orders"';

/** One entry of `services`, or a whole file of `services.d/`. */
export const localService = fields(
  {
    service: name,
    address: dialled,
    protocol: z.exactOptional(choice(['http', 'http2', 'grpc', 'tcp'])),
    weight: z.exactOptional(weight),
    meta: z.exactOptional(meta),
    check: z.exactOptional(check),
    user: z.exactOptional(
      text(32, USER_WANTED).regex(/^[a-z_][a-z0-9_-]*$/, { error: USER_WANTED }),
    ),
  },
  [],
).transform((input): LocalService => ({
  service: input.service,
  address: input.address,
  protocol: input.protocol ?? 'http',
  weight: input.weight ?? DEFAULT_WEIGHT,
  meta: input.meta ?? {},
  check: input.check ?? { kind: 'tcp', ...DEFAULTS.check },
  ...given({ user: input.user }),
}));

const listener = fields({
  listen: loopback,
  to: z.exactOptional(name),
  as: z.exactOptional(name),
});

const isAny = ({ host }: Address): boolean => host === '0.0.0.0' || host === '::';

const mesh = fields({
  listen: z.exactOptional(bound),
  advertise: z.exactOptional(
    addressWhere((at) => at.port > 0 && !isAny(at), ' that other machines can dial'),
  ),
});

/** The file itself, without `services.d/`. `hostname` is the default of `node`. */
export function gatewayFile(hostname: string) {
  const defaultNode = hostname.toLowerCase();
  return fields({
    node: z.exactOptional(name),
    zone: z.exactOptional(name),
    dataDir: z.exactOptional(absoluteFile),
    workers: z.exactOptional(integer(1, 64)),
    registry,
    identity: z.exactOptional(identity),
    mesh: z.exactOptional(mesh),
    egress: z.exactOptional(
      fields({
        listen: z.exactOptional(loopback),
        listeners: z.exactOptional(listOf(listener, 'a list of listeners')),
      }),
    ),
    admin: z.exactOptional(
      fields({ listen: z.exactOptional(loopback), socket: z.exactOptional(absoluteFile) }),
    ),
    gateway: z.exactOptional(name),
    services: z.exactOptional(listOf(localService, 'a list of services')),
    accessLog: z.exactOptional(flag()),
    logLevel: z.exactOptional(choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal'])),
  })
    .refine(
      ({ identity: said, registry: store }) => said !== undefined || store.etcd === undefined,
      {
        path: ['identity'],
        error: 'where certificates come from, since the registry is etcd: ca and tokenFile',
        // Also when a field is wrong, so that one pass reports it.
        when: ({ value }) => isRecord(value) && isRecord(value['registry']),
      },
    )
    .refine(({ node }) => node !== undefined || isName(defaultNode), {
      path: ['node'],
      error: `${NAME_WANTED}, since the host name (${JSON.stringify(hostname)}) is none`,
      when: ({ value }) => isRecord(value),
    })
    .transform((input): GatewayConfig => {
      const dataDir = input.dataDir ?? DEFAULTS.dataDir;
      const listen = input.mesh?.listen ?? DEFAULTS.mesh;
      // With the embedded registry there is no other machine.
      const here = isAny(listen) && listen.port > 0 && input.registry.etcd === undefined;
      const advertise =
        input.mesh?.advertise ?? (here ? { ...listen, host: '127.0.0.1' } : undefined);

      return {
        node: input.node ?? defaultNode,
        zone: input.zone ?? DEFAULTS.zone,
        dataDir,
        workers: input.workers ?? DEFAULTS.workers,
        registry: registryConfig(input.registry, dataDir),
        mesh: { listen, ...given({ advertise }) },
        egress: {
          listen: input.egress?.listen ?? DEFAULTS.egress,
          listeners: input.egress?.listeners ?? [],
        },
        admin: {
          listen: input.admin?.listen ?? DEFAULTS.admin,
          // In the data directory, so that several gateways can run on one machine; the shipped file names /run/gatemesh.
          socket: input.admin?.socket ?? join(dataDir, 'admin.sock'),
        },
        services: input.services ?? [],
        accessLog: input.accessLog ?? true,
        ...given({ identity: input.identity, gateway: input.gateway, logLevel: input.logLevel }),
      };
    })
    .superRefine(checkTogether);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function registryConfig(input: z.output<typeof registry>, dataDir: string): RegistryConfig {
  if (input.etcd === undefined) {
    return { kind: 'embedded', file: input.embedded?.file ?? `${dataDir}/registry.db` };
  }
  return { kind: 'etcd', ...input.etcd, prefix: input.etcd.prefix ?? DEFAULT_PREFIX };
}

interface OwnListener {
  readonly at: Address;
  readonly path: (string | number)[];
}

function listenersOf({ mesh, admin, egress }: GatewayConfig): readonly OwnListener[] {
  return [
    { at: mesh.listen, path: ['mesh', 'listen'] },
    { at: admin.listen, path: ['admin', 'listen'] },
    { at: egress.listen, path: ['egress', 'listen'] },
    ...egress.listeners.map(({ listen }, i) => ({
      at: listen,
      path: ['egress', 'listeners', i, 'listen'],
    })),
  ];
}

/** Which setting makes the gateway itself listen at this address; a service there would be the gateway, in circles. */
export function ownListenerAt({ host, port }: Address, config: GatewayConfig): string | undefined {
  const names = host === 'localhost' ? ['localhost', '127.0.0.1', '::1'] : [host];
  const own = listenersOf(config).find(
    ({ at }) => at.port === port && (isAny(at) || names.includes(at.host)),
  );
  return own && jsonPath(own.path).slice('$.'.length);
}

/** What one field asks of another. */
function checkTogether(config: GatewayConfig, context: z.core.$RefinementCtx): void {
  const add = (path: (string | number)[], message: string, got?: string) =>
    context.addIssue({
      code: 'custom',
      path,
      message,
      ...(got === undefined ? {} : { params: { got } }),
    });

  if (isAny(config.mesh.listen) && config.mesh.advertise === undefined) {
    const wanted = `the address at which other gateways dial this one such as "10.0.0.1:${config.mesh.listen.port}"`;
    add(
      ['mesh', 'advertise'],
      `${wanted}, since mesh.listen is ${formatAddress(config.mesh.listen)}`,
    );
  }
  const taken = new Map<string, string>();
  for (const { at, path } of listenersOf(config)) {
    const place = formatAddress(at);
    const other = taken.get(place);
    if (at.port === 0) continue;
    if (other === undefined) taken.set(place, path.join('.'));
    else add(path, 'an address of its own', `${JSON.stringify(place)}, which is ${other}`);
  }
}
