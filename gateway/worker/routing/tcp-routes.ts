import type { TcpRouteDocument } from '../../../registry/documents/types.ts';
import { splitOf, type Resolution } from './compiled-route.ts';

/** The routes of one port of one gateway. */
interface PortRoutes {
  readonly exact: Map<string, Resolution>;
  /** By suffix with its dot. */
  readonly suffixes: Map<string, Resolution>;
  any: Resolution | undefined;
}

/**
 * TCP routes by gateway, port and server name (SNI): the exact name before `*.example.com` (longest suffix first, any
 * number of labels) before a route that asks for none. Of two for the same place the first by name counts.
 */
export class TcpRouteTable {
  readonly #ports = new Map<string, PortRoutes>();

  constructor(documents: Iterable<TcpRouteDocument>) {
    const byName = [...documents].toSorted((a, b) => (a.name < b.name ? -1 : 1));
    for (const document of byName) if (document.enabled) this.#add(document);
  }

  /** @param sni lower case; '' when there is none */
  match(gateway: string, port: number, sni: string): Resolution | undefined {
    const routes = this.#ports.get(placeOf(gateway, port));
    if (routes === undefined) return undefined;
    const exact = routes.exact.get(sni);
    if (exact !== undefined) return exact;
    for (let dot = sni.indexOf('.'); dot >= 0; dot = sni.indexOf('.', dot + 1)) {
      const wildcard = routes.suffixes.get(sni.slice(dot));
      if (wildcard !== undefined) return wildcard;
    }
    return routes.any;
  }

  #add(document: TcpRouteDocument): void {
    const route = { name: document.name, timeoutMs: undefined, retryAttempts: undefined };
    const resolution: Resolution = { ...splitOf(document.to), route };
    for (const gateway of document.gateways) {
      const place = placeOf(gateway, document.port);
      let routes = this.#ports.get(place);
      if (routes === undefined) {
        routes = { exact: new Map(), suffixes: new Map(), any: undefined };
        this.#ports.set(place, routes);
      }
      if (document.snis.length === 0) routes.any ??= resolution;
      for (const sni of document.snis) {
        if (sni.startsWith('*.')) addFirst(routes.suffixes, sni.slice(1), resolution);
        else addFirst(routes.exact, sni, resolution);
      }
    }
  }
}

function placeOf(gateway: string, port: number): string {
  return `${gateway} ${port}`;
}

function addFirst(map: Map<string, Resolution>, key: string, resolution: Resolution): void {
  if (!map.has(key)) map.set(key, resolution);
}
