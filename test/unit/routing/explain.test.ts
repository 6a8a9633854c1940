import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { route } from './routes.ts';
import { put, Subject, type Entry } from './subject.ts';

describe('explain', () => {
  const ask = (url: string, change: object = {}) => ({
    method: 'get',
    url,
    from: undefined,
    gateway: undefined,
    headers: [],
    ...change,
  });
  const canary = put.route(
    route('canary', {
      hosts: ['orders.mesh'],
      to: [
        { service: 'orders', subset: 'v1', weight: 95 },
        { service: 'orders', subset: 'v2', weight: 5 },
        { service: 'orders', subset: 'v3', weight: 0 },
      ],
    }),
  );
  const orders = put.service('orders', {
    subsets: { v1: { version: '1' }, v2: { version: '2' }, v3: { version: '3' } },
  });
  const v1 = { meta: { version: '1' } };

  it('everything about one request', () => {
    const subject = new Subject(
      canary,
      orders,
      put.instance('a', v1),
      put.instance('b', { ...v1, health: 'failing' }),
      put.instance('c', { ...v1, weight: 0 }),
      put.instance('d', { ...v1, state: 'draining' }),
      put.instance('e', v1),
      put.intention('orders', { allow: [{ from: 'web', methods: [] }] }),
    );
    for (let i = 0; i < 5; i++) subject.endpoint('e').standing.finished(0, 0, '5xx');
    const address = '10.0.0.1:15443';
    const authorised = {
      allowed: true,
      why: 'config/intentions/orders has a rule for web, which allows it',
    };
    const row = (id: string, weight: number, usable: boolean, why: string) => {
      return { instance: id, node: `vm-${id}`, address, weight, usable, why };
    };
    assert.deepEqual(
      subject.tables.explain(ask('http://orders.mesh/x?a=1', { from: 'web' }), 1_500),
      {
        request: { method: 'GET', host: 'orders.mesh', path: '/x', source: 'web' },
        considered: [{ route: 'canary', matched: true, why: '' }],
        route: 'canary',
        destinations: [
          {
            service: 'orders',
            subset: 'v1',
            share: 95,
            authorised,
            endpoints: [
              row('a', 100, true, 'passing'),
              row('b', 100, false, 'failing its health check'),
              row('c', 0, false, 'weight 0'),
              row('d', 100, false, 'draining'),
              row('e', 100, false, 'ejected after failures, for another 9 s'),
            ],
          },
          { service: 'orders', subset: 'v2', share: 5, authorised, endpoints: [] },
          { service: 'orders', subset: 'v3', share: 0, authorised, endpoints: [] },
        ],
        outcome: 'ok for 95 %, 503 UH for 5 %',
      },
    );
  });

  const outcomes: readonly {
    name: string;
    put: readonly Entry[];
    asked: ReturnType<typeof ask>;
    source: string;
    outcome: string;
  }[] = [
    {
      name: 'no route and no such service',
      put: [],
      asked: ask('http://unknown.mesh/'),
      source: 'node/vm-a',
      outcome: '404 NR',
    },
    {
      name: 'the edge reaches no service without a route',
      put: [put.instance('a')],
      asked: ask('http://orders.mesh/', { gateway: 'public' }),
      source: 'edge/public',
      outcome: '404 NR',
    },
    {
      name: 'a service by its name',
      put: [put.instance('a')],
      asked: ask('/x', { headers: [['Host', 'orders:8080']] }),
      source: 'node/vm-a',
      outcome: 'ok',
    },
    {
      name: 'nobody is passing',
      put: [put.instance('a', { health: 'unknown' })],
      asked: ask('http://orders'),
      source: 'node/vm-a',
      outcome: '503 UH',
    },
    {
      name: 'a TCP service',
      put: [put.instance('a', { protocol: 'tcp' })],
      asked: ask('http://orders'),
      source: 'node/vm-a',
      outcome: '502 UPE',
    },
    {
      name: 'denied',
      put: [put.instance('a'), put.mesh({}, 'deny')],
      asked: ask('http://orders/', { from: 'cron' }),
      source: 'cron',
      outcome: '403 DENIED',
    },
    {
      name: 'a header decides',
      put: [
        put.instance('a'),
        put.route(
          route('beta', { headers: { 'x-beta': '1' }, to: [{ service: 'gone', weight: 1 }] }),
        ),
      ],
      asked: ask('http://orders/', { headers: [['X-Beta', '1']] }),
      source: 'node/vm-a',
      outcome: '503 UH',
    },
  ];
  for (const { name, put: entries, asked, source, outcome } of outcomes) {
    it(name, () => {
      const explanation = new Subject(...entries).tables.explain(asked, 0);
      assert.equal(explanation.outcome, outcome);
      assert.equal(explanation.request.source, source);
    });
  }

  it('uses those that are out when all are', () => {
    const subject = new Subject(put.instance('a'));
    subject.endpoint('a').standing.finished(0, 0, 'connect');
    const { destinations, outcome } = subject.tables.explain(ask('http://orders/'), 1_000);
    assert.equal(
      destinations[0]!.endpoints[0]!.why,
      'unreachable, tried again with the next request, but used because all others are out too',
    );
    assert.equal(outcome, 'ok');
  });

  const refused: readonly [url: string, message: string][] = [
    ['/x', `"/x" has no host: give a whole URL, or the host with -H 'host: …'`],
    [
      'orders/x',
      '"orders/x" is neither a URL such as http://orders.mesh/path nor a path that starts with "/"',
    ],
    ['http://orders/a/../b', '400: the path has a "." or ".." segment'],
    ['http://orders/a%2fb', '400: the path has an encoded slash, backslash or NUL'],
  ];
  for (const [url, message] of refused) {
    it(`refuses ${url}`, () => {
      const { tables } = new Subject();
      assert.throws(() => tables.explain(ask(url), 0), { code: 'bad_request', message });
    });
  }
});
