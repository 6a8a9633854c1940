import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { RouteDocument } from '../../../registry/documents/types.ts';
import { buildRouteTable, EGRESS } from '../../../gateway/worker/routing/table.ts';
import { path, request, route } from './routes.ts';

interface Case {
  readonly name: string;
  readonly routes: readonly RouteDocument[];
  readonly request: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly scope?: string;
  readonly source?: string;
  readonly chosen: string | undefined;
}

/** Routes on the same host that nobody asks for: enough to be indexed instead of walked. */
const FILLER = Array.from({ length: 10 }, (_, i) => [
  route(`filler-${i}`, { path: path(`/filler/${i}`) }),
  route(`filler-exact-${i}`, { path: path(`=/filler/${i}`) }),
]).flat();

function check(cases: readonly Case[]): void {
  for (const { name, routes, request: line, headers, scope, source, chosen } of cases) {
    it(name, () => {
      // The order of arrival must not matter, nor whether the host has few routes or many.
      for (const documents of [routes, routes.toReversed(), [...routes, ...withHosts(routes)]]) {
        const table = buildRouteTable(documents);
        const match = table.match(scope ?? EGRESS, source ?? '', request(line, headers));
        assert.equal(match?.name, chosen);
      }
    });
  }
}

function withHosts(routes: readonly RouteDocument[]): readonly RouteDocument[] {
  return routes.flatMap(({ hosts, gateways }) =>
    FILLER.map((filler, i) => ({
      ...filler,
      name: `${filler.name}-${hosts[0]}-${i}`,
      hosts,
      gateways,
    })),
  );
}

describe('order among routes of one host', () => {
  check([
    {
      name: 'higher priority before everything else',
      routes: [route('exact', { path: path('=/x') }), route('prior', { priority: 1 })],
      request: 'GET h/x',
      chosen: 'prior',
    },
    {
      name: 'negative priority comes last',
      routes: [route('last', { path: path('=/x'), priority: -1 }), route('first')],
      request: 'GET h/x',
      chosen: 'first',
    },
    {
      name: 'exact before prefix',
      routes: [route('prefix', { path: path('/x/y') }), route('exact', { path: path('=/x/y') })],
      request: 'GET h/x/y',
      chosen: 'exact',
    },
    {
      name: 'prefix before regex',
      routes: [route('regex', { path: path('~^/x/y$') }), route('prefix')],
      request: 'GET h/x/y',
      chosen: 'prefix',
    },
    {
      name: 'the longest prefix',
      routes: [
        route('one', { path: path('/x') }),
        route('three', { path: path('/x/y/z') }),
        route('two', { path: path('/x/y') }),
      ],
      request: 'GET h/x/y/w',
      chosen: 'two',
    },
    {
      name: 'a shorter prefix when the longer one lacks a condition',
      routes: [
        route('short', { path: path('/x') }),
        route('long', { path: path('/x/y'), methods: ['POST'] }),
      ],
      request: 'GET h/x/y',
      chosen: 'short',
    },
    {
      name: 'a prefix when the exact one lacks a condition',
      routes: [
        route('prefix', { path: path('/x') }),
        route('exact', { path: path('=/x'), methods: ['POST'] }),
      ],
      request: 'GET h/x',
      chosen: 'prefix',
    },
    {
      name: 'a regex of higher priority before a prefix',
      routes: [route('regex', { path: path('~^/x'), priority: 5 }), route('prefix')],
      request: 'GET h/x',
      chosen: 'regex',
    },
    {
      name: 'more conditions',
      routes: [
        route('a-one', { methods: ['GET'] }),
        route('b-two', { methods: ['GET'], headers: { 'x-beta': '1' } }),
      ],
      request: 'GET h/',
      headers: { 'x-beta': '1' },
      chosen: 'b-two',
    },
    {
      name: 'then the name',
      routes: [route('b'), route('a')],
      request: 'GET h/',
      chosen: 'a',
    },
    {
      name: 'disabled routes do not exist',
      routes: [route('a', { enabled: false }), route('b')],
      request: 'GET h/',
      chosen: 'b',
    },
  ]);
});

describe('hosts', () => {
  const on = (name: string, ...hosts: string[]) => route(name, { hosts });
  check([
    {
      name: 'exact before wildcard before any',
      routes: [on('any', '*'), on('wild', '*.example.com'), on('exact', 'a.example.com')],
      request: 'GET a.example.com/',
      chosen: 'exact',
    },
    {
      name: 'the longest wildcard',
      routes: [on('short', '*.com'), on('long', '*.example.com')],
      request: 'GET a.b.example.com/',
      chosen: 'long',
    },
    {
      name: 'a wildcard does not take its own domain',
      routes: [on('wild', '*.example.com'), on('any', '*')],
      request: 'GET example.com/',
      chosen: 'any',
    },
    {
      name: 'nor a name that only ends alike',
      routes: [on('wild', '*.example.com')],
      request: 'GET badexample.com/',
      chosen: undefined,
    },
    {
      name: 'a less specific host when the exact one has no matching path',
      routes: [
        route('exact', { hosts: ['a.example.com'], path: path('/x') }),
        on('wild', '*.example.com'),
      ],
      request: 'GET a.example.com/y',
      chosen: 'wild',
    },
    {
      name: 'the more specific host before the more specific path',
      routes: [
        route('wild', { hosts: ['*.example.com'], path: path('=/x') }),
        on('exact', 'a.example.com'),
      ],
      request: 'GET a.example.com/x',
      chosen: 'exact',
    },
    {
      name: 'priority before the more specific host: any',
      routes: [on('exact', 'a.example.com'), route('any', { priority: 1 })],
      request: 'GET a.example.com/',
      chosen: 'any',
    },
    {
      name: 'priority before the more specific host: wildcard',
      routes: [
        on('exact', 'a.example.com'),
        route('short', { hosts: ['*.com'], priority: 2 }),
        route('long', { hosts: ['*.example.com'], priority: 1 }),
      ],
      request: 'GET a.example.com/',
      chosen: 'short',
    },
    {
      name: 'priority before the more specific host: one of several wildcards',
      routes: [
        on('exact', 'a.example.com'),
        route('prior', { hosts: ['*.com'], priority: 1 }),
        on('other', '*.org'),
      ],
      request: 'GET a.example.com/',
      chosen: 'prior',
    },
    {
      name: 'several hosts on one route',
      routes: [on('both', 'a.example.com', 'b.example.com')],
      request: 'GET b.example.com/',
      chosen: 'both',
    },
    {
      name: 'orders.mesh answers for orders',
      routes: [on('canary', 'orders.mesh')],
      request: 'GET orders/',
      chosen: 'canary',
    },
    {
      name: 'orders answers for orders.mesh',
      routes: [on('canary', 'orders')],
      request: 'GET orders.mesh/',
      chosen: 'canary',
    },
    {
      name: 'both names are one host: the longest prefix of either',
      routes: [
        route('bare', { hosts: ['orders'], path: path('/x') }),
        on('mesh', 'orders.mesh', 'orders'),
      ],
      request: 'GET orders.mesh/x',
      chosen: 'bare',
    },
    {
      name: '*.mesh takes a bare name',
      routes: [on('all', '*.mesh')],
      request: 'GET orders/',
      chosen: 'all',
    },
    {
      name: 'but not a name of another domain',
      routes: [on('all', '*.mesh')],
      request: 'GET shop.example.com/',
      chosen: undefined,
    },
    {
      name: 'at the edge .mesh is nothing special',
      routes: [route('canary', { hosts: ['orders.mesh'], gateways: ['public'] })],
      request: 'GET orders/',
      scope: 'public',
      chosen: undefined,
    },
  ]);
});

describe('paths', () => {
  const cases: readonly [pattern: string, path: string, matches: boolean][] = [
    ['/', '/', true],
    ['/', '/anything', true],
    ['/', '*', true],
    ['/x', '/x', true],
    ['/x', '/x/', true],
    ['/x', '/x/y', true],
    ['/x', '/xy', false],
    ['/x/', '/x', true],
    ['/x/', '/x/', true],
    ['/x/', '/x/y', true],
    ['/x/', '/xy', false],
    ['/admin', '/administrator', false],
    ['/admin', '/Admin', false],
    ['=/x', '/x', true],
    ['=/x', '/x/', false],
    ['=/x/', '/x', false],
    ['~^/x', '/xy', true],
    ['~^/v[0-9]+/', '/v12/y', true],
    ['~^/v[0-9]+/', '/vx/y', false],
  ];
  for (const [pattern, text, matches] of cases) {
    check([
      {
        name: `${pattern} ${matches ? 'matches' : 'does not match'} ${text}`,
        routes: [route('r', { path: path(pattern) })],
        request: text === '*' ? 'OPTIONS h*' : `GET h${text}`,
        chosen: matches ? 'r' : undefined,
      },
    ]);
  }
});

describe('conditions', () => {
  const GET = 'GET h/';
  check([
    {
      name: 'method',
      routes: [route('r', { methods: ['POST', 'GET'] })],
      request: GET,
      chosen: 'r',
    },
    {
      name: 'another method',
      routes: [route('r', { methods: ['GET'] })],
      request: 'HEAD h/',
      chosen: undefined,
    },
    {
      name: 'header value, exactly',
      routes: [route('r', { headers: { 'x-a': '1' } })],
      request: GET,
      headers: { 'x-a': '11' },
      chosen: undefined,
    },
    {
      name: 'all headers',
      routes: [route('r', { headers: { 'x-a': '1', 'x-b': '2' } })],
      request: GET,
      headers: { 'x-a': '1' },
      chosen: undefined,
    },
    {
      name: 'calling service',
      routes: [route('r', { sources: ['web'] })],
      request: GET,
      source: 'web',
      chosen: 'r',
    },
    {
      name: 'no calling service',
      routes: [route('r', { sources: ['web'] })],
      request: GET,
      chosen: undefined,
    },
    {
      name: 'scope: an egress route is not for the edge',
      routes: [route('r')],
      request: GET,
      scope: 'public',
      chosen: undefined,
    },
    {
      name: 'scope: an edge route is not for egress',
      routes: [route('r', { gateways: ['public'] })],
      request: GET,
      chosen: undefined,
    },
    {
      name: 'scope: one of several gateways',
      routes: [route('r', { gateways: ['public', 'partner'] })],
      request: GET,
      scope: 'partner',
      chosen: 'r',
    },
  ]);

  const queries: readonly [query: string, matches: boolean][] = [
    ['v=2', true],
    ['a=1&v=2&b', true],
    ['v=1&v=2', true],
    ['v=22', false],
    ['vv=2', false],
    ['v', false],
    ['%76=%32', true],
    ['a=v=2', false],
    ['&&v=2', true],
    ['v=%2', false],
    ['', false],
  ];
  for (const [query, matches] of queries) {
    check([
      {
        name: `query v=2 and "${query}"`,
        routes: [route('r', { query: { v: '2' } })],
        request: `GET h/?${query}`,
        chosen: matches ? 'r' : undefined,
      },
    ]);
  }
});

describe('considered', () => {
  it('lists what came before the chosen one, with the first thing that did not match', () => {
    const table = buildRouteTable([
      route('d-rest'),
      route('a-exact', { path: path('=/orders') }),
      route('b-beta', { path: path('/x/'), headers: { 'x-beta': '1' }, methods: ['GET'] }),
      route('c-web', { path: path('/x'), sources: ['web', 'cron'] }),
      route('e-v2', { path: path('/x'), query: { v: '2' } }),
      route('f-regex', { path: path('~^/v[0-9]'), priority: 1 }),
      route('g-off', { enabled: false }),
      route('h-edge', { gateways: ['public'] }),
    ]);
    assert.deepEqual(table.considered(EGRESS, '', request('GET h/x')), [
      { route: 'f-regex', matched: false, why: 'the path is not like ^\\/v[0-9]' },
      { route: 'a-exact', matched: false, why: 'the path is not exactly /orders' },
      { route: 'b-beta', matched: false, why: 'header x-beta is not "1"' },
      { route: 'c-web', matched: false, why: 'the calling service is not web or cron' },
      { route: 'e-v2', matched: false, why: 'query parameter v is not "2"' },
      { route: 'd-rest', matched: true, why: '' },
      { route: 'g-off', matched: false, why: 'it is disabled' },
    ]);
  });

  it('says where a route is in force when it is not here', () => {
    const table = buildRouteTable([
      route('edge', { hosts: ['shop.example.com'], gateways: ['public', 'partner'] }),
      route('inside', { hosts: ['orders'] }),
    ]);
    assert.deepEqual(table.considered(EGRESS, '', request('GET shop.example.com/')), [
      { route: 'edge', matched: false, why: 'it is for the edge gateway public or partner' },
    ]);
    assert.deepEqual(table.considered('public', '', request('GET orders.mesh/')), [
      {
        route: 'inside',
        matched: false,
        why: 'it is for calls between services, not for an edge gateway',
      },
    ]);
  });
});

describe('rebuilding', () => {
  it('takes over what is the same and nothing that is not', () => {
    const [a, b] = [route('a', { hosts: ['a'] }), route('b', { hosts: ['b'] })];
    const first = buildRouteTable([a, b]);
    const matched = first.match(EGRESS, '', request('GET a/'));
    const renamed = route('b2', { hosts: ['b'] });
    const second = buildRouteTable([a, renamed], first);
    assert.equal(second.match(EGRESS, '', request('GET a/')), matched);
    assert.equal(second.match(EGRESS, '', request('GET b/'))?.name, 'b2');
    const third = buildRouteTable([renamed], second);
    assert.equal(third.match(EGRESS, '', request('GET a/')), undefined);
  });
});
