import type { PathMatch, RouteDocument } from '../../../registry/documents/types.ts';
import type { RequestView } from '../../../gateway/worker/routing/request-view.ts';

/** A route for any host and path to a service of its own name, but for the changes. */
export function route(name: string, change: Partial<RouteDocument> = {}): RouteDocument {
  return {
    name,
    enabled: true,
    priority: 0,
    gateways: [],
    hosts: ['*'],
    path: { kind: 'prefix', value: '/' },
    methods: [],
    headers: {},
    query: {},
    sources: [],
    to: [{ service: name, weight: 1 }],
    ...change,
  };
}

/** The short form of the documents: `/x` prefix, `=/x` exact, `~^/x` regex. */
export function path(text: string): PathMatch {
  if (text.startsWith('=')) return { kind: 'exact', value: text.slice(1) };
  if (text.startsWith('~')) return { kind: 'regex', value: text.slice(1) };
  return { kind: 'prefix', value: text };
}

/** `GET shop.example.com/x?a=1` */
export function request(line: string, headers: Readonly<Record<string, string>> = {}): RequestView {
  const [, method, host, pathText, query] = /^([A-Z]+) ([^/*]*)([/*][^?]*)\??(.*)$/.exec(line)!;
  return {
    method: method!,
    host: host!,
    path: pathText!,
    query: query!,
    header: (name) => headers[name],
  };
}
