import { isIP } from 'node:net';
import { z } from 'zod';
import { ADDRESS_WANTED, formatAddress, parseAddress, type Address } from '#kit/address.ts';
import { DURATION_WANTED, parseDuration } from '#kit/duration.ts';
import { describe } from '#kit/problem.ts';
import { isName, NAME_PATTERN, NAME_WANTED } from './keys.ts';
import { pathRegexProblem } from './path-regex.ts';
import type { FieldNames } from './problems.ts';
import type { PathMatch } from './types.ts';

/**
 * The building blocks of every document and of the gateway's file. Each schema's error text is what
 * was wanted there, and nothing else: `problems.ts` adds the place, what was there and a near miss.
 */

/**
 * An object with exactly these fields.
 *
 * @param later fields of the target schema that this version does not have, so that the message can say so
 */
export function fields<S extends z.core.$ZodLooseShape>(shape: S, later: readonly string[] = []) {
  const known = Object.keys(shape);
  const names: FieldNames = { known, later };
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? JSON.stringify(names)
        : `an object with ${known.join(', ')}`,
  });
}

/** Features a document may name in `requires`; a gateway that lacks one must not apply half of the document. */
const FEATURES: readonly string[] = [];

/** Fields that every document under `config/` may have. `name` must also equal the key's (`parse.ts`). */
export const COMMON = {
  note: z.exactOptional(text(1_000)),
  by: z.exactOptional(text(200)),
  v: z.exactOptional(z.literal(1, { error: '1, the only version of the schema' })),
  name: z.exactOptional(z.string({ error: "the name in the document's key" })),
  requires: z.exactOptional(
    listOf(
      z.string({ error: 'the name of a feature' }).refine((feature) => FEATURES.includes(feature), {
        error: `a feature of this version (there is ${FEATURES.join(', ') || 'none to name yet'})`,
      }),
      'a list of features',
    ),
  ),
};

/** Printable text: control characters would break log lines, terminals and headers. */
export function text(longest: number, wanted = `a text of at most ${longest} characters`) {
  const error = `${wanted}, without control characters`;
  return z
    .string({ error })
    .max(longest, { error })
    .refine((value) => !/[\u0000-\u001f\u007f-\u009f]/.test(value) && value.isWellFormed(), {
      error,
    });
}

export function listOf<S extends z.ZodType>(element: S, wanted: string, least = 0) {
  const list = z.array(element, { error: wanted });
  return least === 0 ? list : list.min(least, { error: wanted });
}

/** An object whose keys are free: `{"version": "1"}`. */
export function recordOf<V extends z.ZodType>(
  key: z.ZodType<string, string>,
  value: V,
  wanted: string,
) {
  return z.record(key, value, { error: wanted });
}

export function integer(low: number, high: number, what = 'an integer') {
  const error = `${what} from ${low} to ${high}`;
  // Not z.int(): its issue would keep the checks across fields from running.
  return z
    .number({ error })
    .refine((value) => Number.isInteger(value) && value >= low && value <= high, { error })
    .meta({ type: 'integer', minimum: low, maximum: high });
}

export function flag() {
  return z.boolean({ error: 'true or false' });
}

export function choice<const T extends readonly [string, ...string[]]>(values: T) {
  const quoted = values.map((value) => JSON.stringify(value));
  return z.enum(values, {
    error: quoted.length === 1 ? quoted[0]! : `one of ${quoted.join(', ')}`,
  });
}

/** One of the words that are in force; those that are to come are told apart from slips. */
export function onlySoFar<const T extends readonly [string, ...string[]]>(
  values: T,
  later: readonly string[],
) {
  const wanted = values.map((value) => JSON.stringify(value)).join(' or ');
  return z.string({ error: wanted }).transform((value, context): T[number] => {
    if (values.includes(value)) return value;
    const shown = JSON.stringify(value);
    const got = later.includes(value) ? `${shown}, which is not supported by this version` : shown;
    context.addIssue({ code: 'custom', message: wanted, params: { got } });
    return z.NEVER;
  });
}

const LONGEST_MS = 24 * 3_600_000;

/** Milliseconds. Never 0: an operator who writes "0s" means "none" as often as "at once". */
export const duration = z
  .string({ error: DURATION_WANTED })
  .meta({ examples: ['250ms', '5s', '1.5m', '24h'] })
  .transform((value, context) => {
    const ms = parseDuration(value);
    if (ms !== undefined && ms >= 1 && ms <= LONGEST_MS) return ms;
    const wanted = ms === undefined ? DURATION_WANTED : 'a duration from 1ms to 24h';
    context.addIssue({ code: 'custom', message: wanted });
    return z.NEVER;
  });

export const name = z.string({ error: NAME_WANTED }).regex(NAME_PATTERN, { error: NAME_WANTED });

/** Integer, so that sums are exact; any sum above 0 is fine. */
export const weight = integer(0, 1_000_000, 'an integer weight');

export const port = integer(1, 65_535, 'a port');

/** @param condition what `accepts` asks for, in words */
export function addressWhere(accepts: (at: Address) => boolean, condition: string) {
  const wanted = `${ADDRESS_WANTED}${condition}`;
  return z.string({ error: wanted }).transform((value, context): Address => {
    const parsed = parseAddress(value);
    if (parsed !== undefined && accepts(parsed)) return parsed;
    context.addIssue({ code: 'custom', message: wanted });
    return z.NEVER;
  });
}

/** Where something can be dialled. */
export const dialled = addressWhere((at) => at.port > 0, ' with a port above 0');

/** The same, as documents carry it: `host:port` in its one spelling. */
export const address = dialled.transform(formatAddress);

/** RFC 9110 section 5.6.2. */
export const TOKEN_PATTERN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

const METHOD_WANTED = 'an HTTP method in capitals such as "GET"';
export const method = z
  .string({ error: METHOD_WANTED })
  .regex(TOKEN_PATTERN, { error: METHOD_WANTED })
  .superRefine((value, context) => {
    // Methods are case-sensitive (RFC 9110 section 9.1): "get" would match nothing, silently.
    const hint = value.toUpperCase();
    if (value === hint) return;
    context.addIssue({ code: 'custom', message: METHOD_WANTED, params: { hint } });
  });

const HEADER_NAME_WANTED = 'the name of an HTTP header';
/** Header name to exact value; names become lower case. */
export const headerValues = recordOf(
  z
    .string()
    .max(256, { error: HEADER_NAME_WANTED })
    .regex(TOKEN_PATTERN, { error: HEADER_NAME_WANTED }),
  text(4_096, 'a header value'),
  'an object of header names and values',
).transform((headers, context) => {
  const lower: Record<string, string> = {};
  for (const [header, value] of Object.entries(headers)) {
    const key = header.toLowerCase();
    if (Object.hasOwn(lower, key)) {
      context.addIssue({
        code: 'custom',
        path: [header],
        message: 'each header once (names know no case)',
      });
    }
    lower[key] = value;
  }
  return lower;
});

const HOST_WANTED =
  'a host name without scheme and port: "shop.example.com", "*.example.com" or "*"';
const LABEL = '[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?';
const HOST_PATTERN = new RegExp(`^(?:\\*|(?:\\*\\.)?${LABEL}(?:\\.${LABEL})*)$`, 'i');

/** Lower case: an exact name, `*.` and one, or `*`. */
export const hostPattern = z
  .string({ error: HOST_WANTED })
  .max(253, { error: HOST_WANTED })
  .regex(HOST_PATTERN, { error: HOST_WANTED })
  .transform((host) => host.toLowerCase());

const SNI_WANTED = 'a server name: "shop.example.com" or "*.example.com"';

/** Of TLS: as a host pattern, but never any name. */
export const serverName = hostPattern.refine((host) => host !== '*', { error: SNI_WANTED });

const PATH_WANTED = 'a path: "/x/" for a prefix, "=/x" for exactly that, "~^/x" for a regex';

/** `/x/`, `=/x`, `~^/x`. */
export const pathMatch = z.string({ error: PATH_WANTED }).transform((value, context): PathMatch => {
  const kind = value.startsWith('=') ? 'exact' : value.startsWith('~') ? 'regex' : 'prefix';
  const path = kind === 'prefix' ? value : value.slice(1);
  if (kind === 'regex') {
    const why = pathRegexProblem(path);
    if (why !== undefined) {
      const message = 'a regex that matches in linear time';
      const got = `${describe(value)}: ${why}`;
      context.addIssue({ code: 'custom', message, params: { got } });
    }
  } else {
    const wanted = pathProblem(path);
    if (wanted !== undefined) context.addIssue({ code: 'custom', message: wanted });
  }
  return { kind, value: path };
});

/**
 * Requests are matched on their canonical path (no empty or dot segments, no encoded slash), so a
 * path that is not canonical itself would never match and nobody would be told.
 */
function pathProblem(path: string): string | undefined {
  if (!path.startsWith('/')) return PATH_WANTED;
  if (path.endsWith('*')) return 'a prefix as it is, without "*": "/x/" covers all below it';
  if (path.length > 1_024) return 'a path of at most 1024 characters';
  if (!/^(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*$/.test(path)) {
    return 'a path of URL characters, others percent-encoded, without query and fragment';
  }
  if (/%(?:2f|5c|00|2e)/i.test(path)) return 'a path without encoded "/", "\\", "." or NUL';
  if (/\/\/|\/\.{1,2}(?:\/|$)/.test(path)) return 'a path without empty, "." or ".." segments';
  return undefined;
}

const CIDR_WANTED = 'an address range such as "10.0.0.0/8" or "2001:db8::/32"';

/** `address/bits`; a bare address is a range of one. */
export const cidr = z.string({ error: CIDR_WANTED }).transform((value, context) => {
  const [ip = '', bits] = value.split('/', 2);
  const most = isIP(ip) === 4 ? 32 : 128;
  const valid = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most);
  if (isIP(ip) === 0 || ip.includes('%') || !valid || value.split('/').length > 2) {
    context.addIssue({ code: 'custom', message: CIDR_WANTED });
  }
  return bits === undefined ? `${ip}/${most}` : value;
});

const FILE_WANTED = 'an absolute path such as "/etc/gatemesh/tls/shop.pem"';
export const absoluteFile = text(1_024, FILE_WANTED).regex(/^\//, { error: FILE_WANTED });

const META_KEY_WANTED = 'a key of at most 63 letters, digits, "-", "_" and "."';
const metaKey = z.string().regex(/^[A-Za-z0-9][-A-Za-z0-9_.]{0,62}$/, { error: META_KEY_WANTED });

/** Properties of an instance, chosen by its owner. */
export const meta = recordOf(
  metaKey,
  text(256, 'a text in quotes'),
  'an object of texts such as {"version": "1"}',
);

const SPIFFE_ID = /^spiffe:\/\/[a-z0-9._-]{1,255}(?:\/[A-Za-z0-9._-]+)+$/;
const CALLER_WANTED = 'a service name, "*" or a whole SPIFFE id';
export const caller = z
  .string({ error: CALLER_WANTED })
  .max(2_048, { error: CALLER_WANTED })
  .refine((value) => value === '*' || isName(value) || SPIFFE_ID.test(value), {
    error: CALLER_WANTED,
  });

/** The same fields without those that are undefined: `exactOptionalPropertyTypes` keeps the two apart. */
export type Given<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

export function given<T extends object>(all: T): Given<T> {
  return Object.fromEntries(
    Object.entries(all).filter(([, value]) => value !== undefined),
  ) as Given<T>;
}
