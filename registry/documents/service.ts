import { z } from 'zod';
import {
  choice,
  COMMON,
  duration,
  fields,
  given,
  integer,
  meta,
  name,
  onlySoFar,
  recordOf,
} from './fields.ts';
import type { MeshDocument, OutlierDetection, ServiceDocument, ServiceSettings } from './types.ts';

export const DEFAULT_TRUST_DOMAIN = 'mesh.internal';

/** What holds while `config/mesh` does not exist. */
export const DEFAULT_MESH: MeshDocument = {
  trustDomain: DEFAULT_TRUST_DOMAIN,
  defaultIntention: 'allow',
  defaults: {},
};

export const retry = fields({ attempts: integer(0, 10, 'a whole number of further tries') }, [
  'on',
  'perTry',
  'backoff',
  'budget',
]);

const outlierDetection = fields(
  {
    consecutive: z.exactOptional(integer(0, 1_000)),
    base: z.exactOptional(duration),
    max: z.exactOptional(duration),
    maxEjected: z.exactOptional(integer(0, 100, 'a percentage')),
  },
  ['successRate', 'window', 'minRequests'],
)
  .refine(({ base = 0, max = Infinity }) => base <= max, {
    path: ['max'],
    error: 'a duration not below base',
  })
  .transform(({ consecutive, base, max, maxEjected }): Partial<OutlierDetection> =>
    given({ consecutive, baseMs: base, maxMs: max, maxEjected }),
  );

const SETTINGS = {
  timeout: z.exactOptional(duration),
  connectTimeout: z.exactOptional(duration),
  idleTimeout: z.exactOptional(duration),
  retry: z.exactOptional(retry),
  outlierDetection: z.exactOptional(outlierDetection),
};
type SettingsInput = z.output<z.ZodObject<typeof SETTINGS>>;

const LATER = ['lb', 'check', 'circuitBreaker', 'limits', 'retryBudget', 'locality', 'failover'];

function settings(input: SettingsInput): ServiceSettings {
  return given({
    timeoutMs: input.timeout,
    connectTimeoutMs: input.connectTimeout,
    idleTimeoutMs: input.idleTimeout,
    retry: input.retry,
    outlierDetection: input.outlierDetection,
  });
}

/** `version` and `meta.version` name the same key. */
const subset = meta
  .refine((wanted) => Object.keys(wanted).length > 0, {
    error: 'at least one key of the instances\' meta, such as {"version": "1"}',
  })
  .transform((wanted, context) => {
    const plain: Record<string, string> = {};
    for (const [key, value] of Object.entries(wanted)) {
      const bare = key.replace(/^meta\./, '');
      if (Object.hasOwn(plain, bare)) {
        const message = `"${bare}" or "meta.${bare}", which are the same, once`;
        context.addIssue({ code: 'custom', path: [key], message });
      }
      plain[bare] = value;
    }
    return plain;
  });

const SUBSETS_WANTED = 'an object of subsets such as {"v1": {"version": "1"}}';

/** `config/services/<service>` */
export const service = fields(
  {
    ...SETTINGS,
    protocol: z.exactOptional(onlySoFar(['auto', 'http', 'tcp'], ['http2', 'grpc'])),
    subsets: z.exactOptional(recordOf(name, subset, SUBSETS_WANTED)),
    ...COMMON,
  },
  LATER,
).transform((input): Omit<ServiceDocument, 'name'> => ({
  ...settings(input),
  ...given({ protocol: input.protocol === 'auto' ? undefined : input.protocol }),
  subsets: input.subsets ?? {},
}));

const TRUST_DOMAIN_WANTED =
  'a trust domain: lower-case letters, digits, ".", "-" and "_", at most 255';

/** `config/mesh` */
export const mesh = fields(
  {
    trustDomain: z.exactOptional(
      z
        .string({ error: TRUST_DOMAIN_WANTED })
        .regex(/^[a-z0-9._-]{1,255}$/, { error: TRUST_DOMAIN_WANTED }),
    ),
    defaultIntention: z.exactOptional(choice(['allow', 'deny'])),
    defaults: z.exactOptional(fields(SETTINGS, LATER).transform(settings)),
    mtls: z.exactOptional(onlySoFar(['strict'], ['permissive'])),
    ...COMMON,
  },
  [],
).transform((input): MeshDocument => ({
  trustDomain: input.trustDomain ?? DEFAULT_MESH.trustDomain,
  defaultIntention: input.defaultIntention ?? DEFAULT_MESH.defaultIntention,
  defaults: input.defaults ?? DEFAULT_MESH.defaults,
}));
