import type { z } from 'zod';
import { describe, type Problem } from '#kit/problem.ts';
import { certificate, gateway } from './gateway.ts';
import { intention } from './intention.ts';
import { MOST_PROBLEMS, parseJson } from './json.ts';
import { classify, keyProblem, type Key } from './keys.ts';
import { instance, node, nodeIntent, status } from './node.ts';
import { problemsOf } from './problems.ts';
import { route } from './route.ts';
import { mesh, service } from './service.ts';
import { tcpRoute } from './tcp-route.ts';
import type { DocumentKind, DocumentKinds, StatusDocument, TypedDocument } from './types.ts';

/** Fields that come from the key, and need not be repeated in the document. */
interface Identity {
  readonly mesh: never;
  readonly instances: 'node' | 'service' | 'id';
}
type Body<K extends DocumentKind> = Omit<
  DocumentKinds[K],
  K extends keyof Identity ? Identity[K] : 'name'
>;

/** One schema for each kind: the source of validation, messages and the published JSON Schema. */
export const SCHEMAS = {
  mesh,
  services: service,
  routes: route,
  'tcp-routes': tcpRoute,
  intentions: intention,
  gateways: gateway,
  certificates: certificate,
  'node-intents': nodeIntent,
  nodes: node,
  instances: instance,
} satisfies { readonly [K in DocumentKind]: z.ZodType<Body<K>> };

export type Rejected = { readonly ok: false; readonly problems: readonly Problem[] };
export type ParsedDocument = { readonly ok: true; readonly typed: TypedDocument } | Rejected;
export type ParsedStatus = { readonly ok: true; readonly status: StatusDocument } | Rejected;

/**
 * The document under a key, short forms expanded, or everything that is wrong with it. Never throws, whatever
 * the text. What other documents say is not looked at: that is `checkReferences`.
 *
 * @param key relative to the prefix: `config/routes/shop`
 */
export function parseDocument(key: string, text: string): ParsedDocument {
  const parts = classify(key);
  if (parts === undefined || parts.kind === 'status') return rejected([keyProblem(key)]);
  const identity = identityOf(parts);
  const body = read<object>(SCHEMAS[parts.kind], identity, text);
  if (!body.ok) return body;
  const document = parts.kind === 'mesh' ? body.value : { ...identity, ...body.value };
  // SCHEMAS is checked above to give the body of each kind, which the compiler cannot follow through the lookup.
  return { ok: true, typed: { kind: parts.kind, document } as TypedDocument };
}

/** The same for `status/<node>`, which no table is built from. */
export function parseStatus(key: string, text: string): ParsedStatus {
  const parts = classify(key);
  if (parts?.kind !== 'status') return rejected([keyProblem(key)]);
  const body = read(status, { node: parts.name }, text);
  return body.ok ? { ok: true, status: { node: parts.name, ...body.value } } : body;
}

function rejected(problems: readonly Problem[]): Rejected {
  return { ok: false, problems };
}

function identityOf(key: Key): Readonly<Record<string, string>> {
  if (key.kind === 'instances') return { node: key.node, service: key.service, id: key.name };
  return { name: key.name };
}

function read<T>(
  schema: z.ZodType<T>,
  identity: Readonly<Record<string, string>>,
  text: string,
): { readonly ok: true; readonly value: T } | Rejected {
  const json = parseJson(text);
  if (!json.ok) return json;
  const parsed = schema.safeParse(json.value);
  const problems = [
    ...identityProblems(identity, json.value),
    ...(parsed.success ? [] : problemsOf(parsed.error.issues, json.value)),
  ];
  if (parsed.success && problems.length === 0) return { ok: true, value: parsed.data };
  return rejected(problems.slice(0, MOST_PROBLEMS));
}

function identityProblems(identity: Readonly<Record<string, string>>, value: unknown): Problem[] {
  if (typeof value !== 'object' || value === null) return [];
  const said = value as Readonly<Record<string, unknown>>;
  return Object.entries(identity)
    .filter(([field, wanted]) => Object.hasOwn(said, field) && said[field] !== wanted)
    .map(([field, wanted]) => ({
      path: `$.${field}`,
      wanted: `${JSON.stringify(wanted)}, as in the key`,
      got: describe(said[field]),
    }));
}
