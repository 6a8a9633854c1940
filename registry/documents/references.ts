import { nearest } from '#kit/nearest.ts';
import type { Problem } from '#kit/problem.ts';
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
}

const NONE: ReadonlySet<string> = new Set();

/** The names that a set of documents brings. */
export function knownOf(documents: Iterable<TypedDocument>): Known {
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
  };
}

/** Everything in a document that points at nothing. Paths are those of the long form: `$.to[1].subset`. */
export function checkReferences(typed: TypedDocument, known: Known): Problem[] {
  switch (typed.kind) {
    case 'routes':
      return checkRoute(typed.document, known);
    case 'tcp-routes':
      return [...checkRoute(typed.document, known), ...checkPort(typed.document, known)];
    case 'gateways':
      return typed.document.listeners.flatMap(({ certificates }, i) =>
        certificates.flatMap((name, j) =>
          missing('certificate', name, known.certificates, `$.listeners[${i}].certificates[${j}]`),
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

function checkRoute(
  { gateways, to }: Pick<RouteDocument, 'gateways' | 'to'>,
  known: Known,
): Problem[] {
  return [
    ...gateways.flatMap((name, i) => missing('gateway', name, known.gateways, `$.gateways[${i}]`)),
    ...to.flatMap(({ service, subset }, i) => {
      const at = `$.to[${i}]`;
      if (!known.services.has(service)) {
        return missing('service', service, known.services, `${at}.service`);
      }
      if (subset === undefined) return [];
      return missing(`subset of ${service}`, subset, known.subsets(service), `${at}.subset`);
    }),
  ];
}

/** A connection reaches the route by a listener of that port, and its server name only where that is read. */
function checkPort({ gateways, port, snis }: TcpRouteDocument, known: Known): readonly Problem[] {
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

function missing(
  what: string,
  name: string,
  known: ReadonlySet<string>,
  path: string,
): readonly Problem[] {
  if (known.has(name)) return [];
  const hint = nearest(name, known);
  const wanted = `the name of a ${what} that exists${known.size === 0 ? ' (there is none)' : ''}`;
  return [{ path, wanted, got: JSON.stringify(name), ...(hint === undefined ? {} : { hint }) }];
}
