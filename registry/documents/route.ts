import { z } from 'zod';
import {
  COMMON,
  duration,
  fields,
  flag,
  given,
  headerValues,
  hostPattern,
  integer,
  listOf,
  method,
  name,
  pathMatch,
  recordOf,
  text,
  weight,
} from './fields.ts';
import { isName, NAME_WANTED } from './keys.ts';
import { retry } from './service.ts';
import type { Destination, PathMatch, RouteDocument } from './types.ts';

const TO_WANTED =
  'a service ("web"), a subset of one ("web@v1"), an object with service, subset and weight, or a list of these';

/** `web` or `web@v1`. */
const shortDestination = z.string({ error: TO_WANTED }).transform((value, context): Destination => {
  const [service = '', subset, ...more] = value.split('@');
  const valid = isName(service) && (subset === undefined || isName(subset)) && more.length === 0;
  if (!valid) {
    const message = `"service" or "service@subset", each ${NAME_WANTED}`;
    context.addIssue({ code: 'custom', message });
  }
  return { service, ...given({ subset }), weight: 1 };
});

const longDestination = fields({
  service: name,
  subset: z.exactOptional(name),
  weight: z.exactOptional(weight),
}).transform((input): Destination => ({
  service: input.service,
  ...given({ subset: input.subset }),
  weight: input.weight ?? 1,
}));

const destination = z.union([shortDestination, longDestination], { error: TO_WANTED });

/** `to` of a route: a name, `svc@subset`, an object, or a list of these. */
export const destinations = z
  .union(
    [
      destination.transform((only): readonly Destination[] => [only]),
      listOf(destination, TO_WANTED, 1),
    ],
    { error: TO_WANTED },
  )
  .refine((list) => list.length === 0 || list.some((one) => one.weight > 0), {
    error: 'weights whose sum is above 0',
    params: { got: 'a sum of 0' },
  });

const HOSTS_WANTED = 'a list of at least one host';

/** What may stand at the top of a route or inside `match`. */
const CONDITIONS = {
  host: z.exactOptional(hostPattern),
  hosts: z.exactOptional(listOf(hostPattern, HOSTS_WANTED, 1)),
  path: z.exactOptional(pathMatch),
  methods: z.exactOptional(listOf(method, 'a list of methods')),
  query: z.exactOptional(
    recordOf(
      text(256, 'the name of a query parameter'),
      text(4_096, 'the value of a query parameter'),
      'an object of query parameters and values',
    ),
  ),
  sources: z.exactOptional(listOf(name, 'a list of services')),
};

/** `headers` only here: at the top of a route it is going to change headers, not to match them. */
const match = fields({ ...CONDITIONS, headers: z.exactOptional(headerValues) });

const ANY_PATH: PathMatch = { kind: 'prefix', value: '/' };

type Conditions = z.output<z.ZodObject<typeof CONDITIONS>>;
interface Said extends Conditions {
  readonly match?: Conditions;
}

/** `config/routes/<route>` */
export const route = fields(
  {
    enabled: z.exactOptional(flag()),
    priority: z.exactOptional(integer(-1_000_000, 1_000_000)),
    gateways: z.exactOptional(listOf(name, 'a list of gateways')),
    ...CONDITIONS,
    match: z.exactOptional(match),
    to: destinations,
    timeout: z.exactOptional(duration),
    retry: z.exactOptional(retry),
    ...COMMON,
  },
  [
    'headers',
    'sticky',
    'fallback',
    'rewrite',
    'redirect',
    'mirror',
    'fault',
    'policies',
    'rollout',
  ],
)
  .superRefine(
    (input, context) => {
      for (const problem of conditionProblems(input)) context.addIssue(problem);
    },
    // Also when a field is wrong, so that one pass reports everything.
    { when: ({ value }) => isSaid(value) },
  )
  .transform((input): Omit<RouteDocument, 'name'> => {
    const said = { ...input, ...input.match };
    return {
      enabled: input.enabled ?? true,
      priority: input.priority ?? 0,
      gateways: input.gateways ?? [],
      // conditionProblems has seen to it that there is exactly one of the two.
      hosts: said.hosts ?? [said.host!],
      path: said.path ?? ANY_PATH,
      methods: said.methods ?? [],
      headers: input.match?.headers ?? {},
      query: said.query ?? {},
      sources: said.sources ?? [],
      to: input.to,
      ...given({ timeoutMs: input.timeout, retry: input.retry }),
    };
  });

function isSaid(value: unknown): value is Said {
  const { match: inner = {} } = (value ?? {}) as { readonly match?: unknown };
  return [value, inner].every(
    (one) => typeof one === 'object' && one !== null && !Array.isArray(one),
  );
}

function conditionProblems(input: Said) {
  const problems: { code: 'custom'; path: string[]; message: string; params: { got: string } }[] =
    [];
  const hosts = [
    ...(['host', 'hosts'] as const).filter((key) => input[key] !== undefined),
    ...(['host', 'hosts'] as const)
      .filter((key) => input.match?.[key] !== undefined)
      .map((key) => `match.${key}`),
  ];
  if (hosts.length !== 1) {
    problems.push({
      code: 'custom',
      path: ['host'],
      message: 'one of host and hosts (for any host: "*")',
      params: { got: hosts.length === 0 ? 'nothing' : hosts.join(' and ') },
    });
  }
  for (const key of ['path', 'methods', 'query', 'sources'] as const) {
    if (input[key] === undefined || input.match?.[key] === undefined) continue;
    problems.push({
      code: 'custom',
      path: ['match', key],
      message: `${key} once`,
      params: { got: `${key} and match.${key}` },
    });
  }
  return problems;
}
