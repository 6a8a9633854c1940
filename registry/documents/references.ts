import { nearest } from '#kit/nearest.ts';
import type { Problem } from '#kit/problem.ts';
import { parseJson } from './json.ts';
import { configKey, type NamedConfigKind } from './keys.ts';
import { writtenPath } from './problems.ts';
import type { GatewayListener, RouteDocument, TcpRouteDocument, TypedDocument } from './types.ts';

/** The names a document may point at. */
export interface Known {
  /** Configured or registered by some instance. */
  readonly services: ReadonlySet<string>;
  /** Names of a service's subsets; empty for a service without a document. */
  subsets(service: string): ReadonlySet<string>;
  readonly gateways: ReadonlySet<string>;
  /** Undefined where the gateway's document is not at hand. */
  listeners(gateway: string): readonly GatewayListener[] | undefined;
  readonly certificates: ReadonlySet<string>;
  /** Whether a document lies under the key and is refused as it stands. */
  isRejected(key: string): boolean;
}

const NONE: ReadonlySet<string> = new Set();

/**
 * The names that a set of documents brings.
 *
 * @param rejected keys of documents that are there and cannot be used
 */
export function knownOf(
  documents: Iterable<TypedDocument>,
  rejected: ReadonlySet<string> = NONE,
): Known {
  const services = new Set<string>();
  const subsets = new Map<string, ReadonlySet<string>>();
  const listeners = new Map<string, readonly GatewayListener[]>();
  const certificates = new Set<string>();
  for (const { kind, document } of documents) {
    if (kind === 'services') {
      services.add(document.name);
      subsets.set(document.name, new Set(Object.keys(document.subsets)));
    } else if (kind === 'instances') {
      services.add(document.service);
    } else if (kind === 'gateways') {
      listeners.set(document.name, document.listeners);
    } else if (kind === 'certificates') {
      certificates.add(document.name);
    }
  }
  return {
    services,
    subsets: (service) => subsets.get(service) ?? NONE,
    gateways: new Set(listeners.keys()),
    listeners: (gateway) => listeners.get(gateway),
    certificates,
    isRejected: (key) => rejected.has(key),
  };
}

/** A place in the long form of a document: `['to', 1, 'subset']`. */
type Steps = readonly (string | number)[];

interface Reference {
  readonly what: string;
  /** The kind of the document that would bring the name. */
  readonly kind: NamedConfigKind;
  /** Of that document. */
  readonly owner: string;
  readonly name: string;
  readonly known: ReadonlySet<string>;
  readonly at: Steps;
}

/**
 * Everything in a document that points at nothing.
 *
 * @param text the document as it was written, so that the paths are there: `$.to[1].subset`, `$.to` for `"to": "web"`
 */
export function checkReferences(typed: TypedDocument, known: Known, text: string): Problem[] {
  const missing = referencesOf(typed, known).filter((one) => !one.known.has(one.name));
  const ports = typed.kind === 'tcp-routes' ? portProblems(typed.document, known) : [];
  if (missing.length === 0) return ports;
  const json = parseJson(text);
  const written = json.ok ? json.value : undefined;
  return [...missing.map((one) => problemOf(one, known, writtenPath(one.at, written))), ...ports];
}

function referencesOf(typed: TypedDocument, known: Known): Reference[] {
  switch (typed.kind) {
    case 'routes':
    case 'tcp-routes':
      return routeReferences(typed.document, known);
    case 'gateways':
      return typed.document.listeners.flatMap(({ certificates }, i) =>
        certificates.map((name, j) =>
          reference('certificates', name, known.certificates, ['listeners', i, 'certificates', j]),
        ),
      );
    case 'mesh':
    case 'services':
    case 'intentions':
    case 'certificates':
    case 'node-intents':
    case 'nodes':
    case 'instances':
      return [];
  }
}

function routeReferences(
  { gateways, to }: Pick<RouteDocument, 'gateways' | 'to'>,
  known: Known,
): Reference[] {
  return [
    ...gateways.map((name, i) => reference('gateways', name, known.gateways, ['gateways', i])),
    ...to.map(({ service, subset }, i) => {
      if (subset === undefined || !known.services.has(service)) {
        return reference('services', service, known.services, ['to', i, 'service']);
      }
      return {
        ...reference('services', service, known.subsets(service), ['to', i, 'subset']),
        what: `subset of ${service}`,
        name: subset,
      };
    }),
  ];
}

/** A connection reaches the route by a listener of that port, and its server name only where that is read. */
function portProblems({ gateways, port, snis }: TcpRouteDocument, known: Known): Problem[] {
  return gateways.flatMap((gateway) => {
    const listeners = known.listeners(gateway);
    const leadsHere = ({ port: at, protocol }: GatewayListener): boolean =>
      at === port && (protocol === 'tls-passthrough' || (protocol === 'tcp' && snis.length === 0));
    if (listeners === undefined || listeners.some(leadsHere)) return [];
    const protocols =
      snis.length === 0
        ? '"tcp" or "tls-passthrough"'
        : '"tls-passthrough", since it asks for a name';
    const wanted = `the port of a listener of ${gateway} with protocol ${protocols}`;
    return [{ path: '$.port', wanted, got: String(port) }];
  });
}

function reference(
  kind: 'services' | 'gateways' | 'certificates',
  name: string,
  known: ReadonlySet<string>,
  at: Steps,
): Reference {
  return { what: kind.slice(0, -1), kind, owner: name, name, known, at };
}

function problemOf(missing: Reference, known: Known, path: string): Problem {
  const { what, kind, owner, name } = missing;
  const key = configKey(kind, owner);
  const shown = JSON.stringify(name);
  // Telling somebody to create what is there would send him the wrong way.
  if (known.isRejected(key)) {
    const got = `${shown}, and ${key} is itself rejected`;
    return { path, wanted: `the name of a ${what} that is in force`, got };
  }
  const hint = nearest(name, missing.known);
  const none = missing.known.size === 0 ? ' (there is none)' : '';
  const wanted = `the name of a ${what} that exists${none}`;
  return { path, wanted, got: shown, ...(hint === undefined ? {} : { hint }) };
}

const MISSING =
  /^(\S+): wanted the name of a (?:(service|gateway|certificate)|subset of (\S+)) that exists(?: \(there is none\))?; got "([^"]+)"/;
const REJECTED =
  /^(\S+): wanted the name of a .* that is in force; got "[^"]+", and (\S+) is itself/;

/**
 * What to do about a problem that `checkReferences` found, read back from the line that `formatProblem` made of it:
 * registries keep rejections as lines. Undefined for any other line.
 */
export function adviceOnReference(line: string): string | undefined {
  const missing = MISSING.exec(line);
  if (missing !== null) {
    const [, path, kind, service, name] = missing;
    if (kind === undefined) {
      return `add the subset "${name}" to config/services/${service}, or correct ${path}`;
    }
    return `create config/${kind}s/${name}, or correct ${path}`;
  }
  const [, path, key] = REJECTED.exec(line) ?? [];
  return key === undefined ? undefined : `correct ${key}, or ${path}`;
}
