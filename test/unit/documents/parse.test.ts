import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatProblem } from '#kit/problem.ts';
import { parseDocument, parseStatus } from '../../../registry/documents/parse.ts';
import type { TypedDocument } from '../../../registry/documents/types.ts';

function problems(key: string, text: string): readonly string[] {
  const parsed = parseDocument(key, text);
  return parsed.ok ? [] : parsed.problems.map(formatProblem);
}

const NAME =
  'a name of at most 63 lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit';
const ROUTE_FIELDS =
  'enabled, priority, gateways, host, hosts, path, methods, query, sources, match, to, timeout, retry, note, by, v, name, requires';
const TCP_ROUTE_FIELDS = 'enabled, gateways, port, sni, snis, to, note, by, v, name, requires';

describe('parseDocument accepts', () => {
  const route = {
    enabled: true,
    priority: 0,
    gateways: [],
    path: { kind: 'prefix', value: '/' },
    methods: [],
    headers: {},
    query: {},
    sources: [],
  } as const;

  const rows: readonly [name: string, key: string, text: string, typed: TypedDocument][] = [
    [
      'a route as typed by hand',
      'config/routes/shop',
      '{"host":"Shop.example.com","gateways":["public"],"to":"web"}',
      {
        kind: 'routes',
        document: {
          ...route,
          name: 'shop',
          hosts: ['shop.example.com'],
          gateways: ['public'],
          to: [{ service: 'web', weight: 1 }],
        },
      },
    ],
    [
      'a canary, with comments and trailing commas',
      'config/routes/orders-canary',
      `{ // ticket 812
         "host": "orders.mesh", "name": "orders-canary", "v": 1, "note": "canary", "by": "me",
         "to": [{"service":"orders","subset":"v1","weight":95}, "orders@v2",],
       }`,
      {
        kind: 'routes',
        document: {
          ...route,
          name: 'orders-canary',
          hosts: ['orders.mesh'],
          to: [
            { service: 'orders', subset: 'v1', weight: 95 },
            { service: 'orders', subset: 'v2', weight: 1 },
          ],
        },
      },
    ],
    [
      'a route with every condition',
      'config/routes/full',
      `{"priority":-5,"enabled":false,
        "match":{"hosts":["*.example.com","*"],"path":"~^/v[0-9]+/[^/]+$","methods":["GET","M-SEARCH"],
                 "headers":{"X-Beta":"1"},"query":{"v":"2"},"sources":["web"]},
        "to":{"service":"web","weight":3},"timeout":"1.5s","retry":{"attempts":2}}`,
      {
        kind: 'routes',
        document: {
          name: 'full',
          enabled: false,
          priority: -5,
          gateways: [],
          hosts: ['*.example.com', '*'],
          path: { kind: 'regex', value: '^/v[0-9]+/[^/]+$' },
          methods: ['GET', 'M-SEARCH'],
          headers: { 'x-beta': '1' },
          query: { v: '2' },
          sources: ['web'],
          to: [{ service: 'web', weight: 3 }],
          timeoutMs: 1_500,
          retry: { attempts: 2 },
        },
      },
    ],
    [
      'conditions beside match',
      'config/routes/r',
      '{"host":"a","path":"=/x","match":{"methods":["GET"]},"sources":["web"],"to":"b"}',
      {
        kind: 'routes',
        document: {
          ...route,
          name: 'r',
          hosts: ['a'],
          path: { kind: 'exact', value: '/x' },
          methods: ['GET'],
          sources: ['web'],
          to: [{ service: 'b', weight: 1 }],
        },
      },
    ],
    [
      'a service, and both spellings of a subset',
      'config/services/orders',
      `{"subsets":{"v1":{"version":"1"},"v2":{"meta.version":"2","tier":"a"}},"timeout":"3s",
        "connectTimeout":"250ms","idleTimeout":"5m","retry":{"attempts":0},
        "outlierDetection":{"consecutive":3,"base":"1s","max":"1m","maxEjected":100}}`,
      {
        kind: 'services',
        document: {
          name: 'orders',
          subsets: { v1: { version: '1' }, v2: { version: '2', tier: 'a' } },
          timeoutMs: 3_000,
          connectTimeoutMs: 250,
          idleTimeoutMs: 300_000,
          retry: { attempts: 0 },
          outlierDetection: { consecutive: 3, baseMs: 1_000, maxMs: 60_000, maxEjected: 100 },
        },
      },
    ],
    [
      'a TCP route by port',
      'config/tcp-routes/db',
      '{"gateways":["public"],"port":5432,"to":"db"}',
      {
        kind: 'tcp-routes',
        document: {
          name: 'db',
          enabled: true,
          gateways: ['public'],
          port: 5_432,
          snis: [],
          to: [{ service: 'db', weight: 1 }],
        },
      },
    ],
    [
      'a TCP route by server name, and a canary behind it',
      'config/tcp-routes/db',
      '{"gateways":["public"],"port":5432,"sni":"DB.example.com","to":["db@v1",{"service":"db","weight":9}],"enabled":false}',
      {
        kind: 'tcp-routes',
        document: {
          name: 'db',
          enabled: false,
          gateways: ['public'],
          port: 5_432,
          snis: ['db.example.com'],
          to: [
            { service: 'db', subset: 'v1', weight: 1 },
            { service: 'db', weight: 9 },
          ],
        },
      },
    ],
    [
      'a service that is reached by TCP',
      'config/services/db',
      '{"protocol":"tcp"}',
      { kind: 'services', document: { name: 'db', subsets: {}, protocol: 'tcp' } },
    ],
    [
      'an empty service',
      'config/services/orders',
      '{}',
      { kind: 'services', document: { name: 'orders', subsets: {} } },
    ],
    [
      'an empty mesh',
      'config/mesh',
      '{}',
      {
        kind: 'mesh',
        document: { trustDomain: 'mesh.internal', defaultIntention: 'allow', defaults: {} },
      },
    ],
    [
      'a mesh',
      'config/mesh',
      '{"trustDomain":"corp.example","defaultIntention":"deny","defaults":{"timeout":"15s"}}',
      {
        kind: 'mesh',
        document: {
          trustDomain: 'corp.example',
          defaultIntention: 'deny',
          defaults: { timeoutMs: 15_000 },
        },
      },
    ],
    [
      'an intention, denying by default once it allows somebody',
      'config/intentions/payments',
      '{"allow":["web",{"from":"spiffe://other.example/svc/x","methods":["GET"],"path":"/v1/"}]}',
      {
        kind: 'intentions',
        document: {
          name: 'payments',
          mode: 'enforce',
          allow: [
            { from: 'web', methods: [] },
            {
              from: 'spiffe://other.example/svc/x',
              methods: ['GET'],
              path: { kind: 'prefix', value: '/v1/' },
            },
          ],
          deny: [],
          default: 'deny',
        },
      },
    ],
    [
      'an intention for any destination that only denies',
      'config/intentions/*',
      '{"deny":["legacy"],"mode":"audit"}',
      {
        kind: 'intentions',
        document: {
          name: '*',
          mode: 'audit',
          allow: [],
          deny: [{ from: 'legacy', methods: [] }],
          default: 'allow',
        },
      },
    ],
    [
      'a gateway',
      'config/gateways/public',
      `{"listeners":[{"port":80},{"port":443,"address":"::","protocol":"https","certificates":["shop"],"tls":{"min":"1.3"}}],
        "trustedProxies":["10.0.0.0/8","192.0.2.1","2001:db8::1"]}`,
      {
        kind: 'gateways',
        document: {
          name: 'public',
          listeners: [
            { port: 80, address: '0.0.0.0', protocol: 'http', certificates: [], tlsMin: '1.2' },
            { port: 443, address: '::', protocol: 'https', certificates: ['shop'], tlsMin: '1.3' },
          ],
          trustedProxies: ['10.0.0.0/8', '192.0.2.1/32', '2001:db8::1/128'],
        },
      },
    ],
    [
      'a certificate',
      'config/certificates/shop',
      '{"hosts":["shop.example.com","*.shop.example.com"],"certFile":"/etc/c.pem","keyFile":"/etc/k.pem"}',
      {
        kind: 'certificates',
        document: {
          name: 'shop',
          hosts: ['shop.example.com', '*.shop.example.com'],
          certFile: '/etc/c.pem',
          keyFile: '/etc/k.pem',
        },
      },
    ],
    [
      "an operator's intent for a node",
      'config/nodes/vm-a',
      '{"maintenance":true,"zone":"dc1-a","services":["web"]}',
      {
        kind: 'node-intents',
        document: { name: 'vm-a', maintenance: true, zone: 'dc1-a', services: ['web'] },
      },
    ],
    [
      'a node of a newer version, with a field unknown here',
      'nodes/vm-a',
      '{"name":"vm-a","address":"10.0.0.1:15443","zone":"dc1","version":"9.9.9","capabilities":["mirror"]}',
      {
        kind: 'nodes',
        document: { name: 'vm-a', address: '10.0.0.1:15443', zone: 'dc1', version: '9.9.9' },
      },
    ],
    [
      'an instance',
      'nodes/vm-a/instances/web/web-1',
      `{"address":"[2001:db8::1]:15443","app":"127.0.0.1:8080","protocol":"http","zone":"dc1","meta":{"version":"2"},
        "state":"ready","health":"passing","since":"2026-09-30T10:00:00Z"}`,
      {
        kind: 'instances',
        document: {
          node: 'vm-a',
          service: 'web',
          id: 'web-1',
          address: '[2001:db8::1]:15443',
          app: '127.0.0.1:8080',
          protocol: 'http',
          weight: 100,
          zone: 'dc1',
          meta: { version: '2' },
          state: 'ready',
          health: 'passing',
          since: '2026-09-30T10:00:00Z',
        },
      },
    ],
  ];
  for (const [name, key, text, typed] of rows) {
    it(name, () => assert.deepEqual(parseDocument(key, text), { ok: true, typed }));
  }
});

describe('parseDocument refuses', () => {
  const SHOP = 'config/routes/shop';
  const rows: readonly [name: string, key: string, text: string, ...problems: string[]][] = [
    [
      'a misspelt field, deep inside',
      SHOP,
      '{"host":"a","to":[{"service":"web","weigth":95}]}',
      '$.to[0].weigth: wanted one of service, subset, weight; got the unknown field "weigth". Did you mean "weight"?',
    ],
    [
      'a field of a later version',
      SHOP,
      '{"host":"a","to":"web","mirror":{"service":"b"}}',
      `$.mirror: wanted one of ${ROUTE_FIELDS}; got "mirror", which is not supported by this version`,
    ],
    [
      'everything that is wrong, in one pass',
      SHOP,
      '{"to":[{"service":"Web","weight":"5"},7],"timeout":"5","priority":1.5,"enabled":"yes","name":"x"}',
      '$.name: wanted "shop", as in the key; got "x"',
      '$.enabled: wanted true or false; got "yes"',
      '$.priority: wanted an integer from -1000000 to 1000000; got 1.5',
      `$.to[0].service: wanted ${NAME}; got "Web"`,
      '$.to[0].weight: wanted an integer weight from 0 to 1000000; got "5"',
      '$.to[1]: wanted a service ("web"), a subset of one ("web@v1"), an object with service, subset and weight, or a list of these; got 7',
      '$.timeout: wanted a duration such as "250ms", "5s" or "24h"; got "5"',
      '$.host: wanted one of host and hosts (for any host: "*"); got nothing',
    ],
    ['a list', SHOP, '[]', `$: wanted an object with ${ROUTE_FIELDS}; got a list of 0`],
    [
      'no destination',
      SHOP,
      '{"host":"a"}',
      '$.to: wanted a service ("web"), a subset of one ("web@v1"), an object with service, subset and weight, or a list of these; got nothing',
    ],
    [
      'destinations that are all parked',
      SHOP,
      '{"host":"a","to":[{"service":"a","weight":0},{"service":"b","weight":0}]}',
      '$.to: wanted weights whose sum is above 0; got a sum of 0',
    ],
    [
      'a negative weight',
      SHOP,
      '{"host":"a","to":{"service":"a","weight":-1}}',
      '$.to.weight: wanted an integer weight from 0 to 1000000; got -1',
    ],
    [
      'a subset of a subset',
      SHOP,
      '{"host":"a","to":"web@v1@x"}',
      `$.to: wanted "service" or "service@subset", each ${NAME}; got "web@v1@x"`,
    ],
    [
      'a host with a port',
      SHOP,
      '{"host":"shop.example.com:8080","to":"web"}',
      '$.host: wanted a host name without scheme and port: "shop.example.com", "*.example.com" or "*"; got "shop.example.com:8080"',
    ],
    [
      'a host with a NUL in it',
      SHOP,
      '{"host":"shop\\u0000.example.com","to":"web"}',
      '$.host: wanted a host name without scheme and port: "shop.example.com", "*.example.com" or "*"; got "shop\\u0000.example.com"',
    ],
    [
      'two kinds of hosts',
      SHOP,
      '{"host":"a","match":{"hosts":["b"],"path":"/"},"path":"/","to":"web"}',
      '$.host: wanted one of host and hosts (for any host: "*"); got host and match.hosts',
      '$.match.path: wanted path once; got path and match.path',
    ],
    [
      'a path that is not one',
      SHOP,
      '{"host":"a","path":"api","to":"web"}',
      '$.path: wanted a path: "/x/" for a prefix, "=/x" for exactly that, "~^/x" for a regex; got "api"',
    ],
    [
      'a glob',
      SHOP,
      '{"host":"a","path":"/api/*","to":"web"}',
      '$.path: wanted a prefix as it is, without "*": "/x/" covers all below it; got "/api/*"',
    ],
    [
      'a path no request has after normalisation',
      SHOP,
      '{"host":"a","path":"/a/../b","to":"web"}',
      '$.path: wanted a path without empty, "." or ".." segments; got "/a/../b"',
    ],
    [
      'an encoded slash',
      SHOP,
      '{"host":"a","path":"=/a%2fb","to":"web"}',
      '$.path: wanted a path without encoded "/", "\\", "." or NUL; got "=/a%2fb"',
    ],
    [
      'a path with a query',
      SHOP,
      '{"host":"a","path":"/a?b=1","to":"web"}',
      '$.path: wanted a path of URL characters, others percent-encoded, without query and fragment; got "/a?b=1"',
    ],
    [
      'a regex that takes exponential time',
      SHOP,
      '{"host":"a","path":"~^/(a+)+$","to":"web"}',
      '$.path: wanted a regex that matches in linear time; got "~^/(a+)+$": a repeat inside a repeat (or alternatives inside one) can take exponential time',
    ],
    [
      'headers to match outside of match',
      SHOP,
      '{"host":"a","headers":{"x-beta":"1"},"to":"web"}',
      `$.headers: wanted one of ${ROUTE_FIELDS}; got "headers", which is not supported by this version`,
    ],
    [
      'header names and values that are none',
      SHOP,
      '{"host":"a","match":{"headers":{"x beta":"1","x-a":"1\\r\\nx-b: 2"}},"to":"web"}',
      '$.match.headers["x beta"]: wanted the name of an HTTP header; got the name "x beta"',
      '$.match.headers["x-a"]: wanted a header value, without control characters; got "1\\r\\nx-b: 2"',
    ],
    [
      'a header given in two cases',
      SHOP,
      '{"host":"a","match":{"headers":{"X-A":"1","x-a":"2"}},"to":"web"}',
      '$.match.headers["x-a"]: wanted each header once (names know no case); got "2"',
    ],
    [
      'a method in small letters',
      SHOP,
      '{"host":"a","methods":["get"],"to":"web"}',
      '$.methods[0]: wanted an HTTP method in capitals such as "GET"; got "get". Did you mean "GET"?',
    ],
    [
      'a schema of another version, and a feature it does not have',
      SHOP,
      '{"host":"a","to":"web","v":2,"requires":["mirror"]}',
      '$.v: wanted 1, the only version of the schema; got 2',
      '$.requires[0]: wanted a feature of this version (there is none to name yet); got "mirror"',
    ],
    [
      'durations out of range',
      'config/services/orders',
      '{"timeout":"0s","idleTimeout":"30d"}',
      '$.timeout: wanted a duration from 1ms to 24h; got "0s"',
      '$.idleTimeout: wanted a duration from 1ms to 24h; got "30d"',
    ],
    [
      'subsets that are none',
      'config/services/orders',
      '{"subsets":{"V1":{"version":"1"},"v2":{},"v3":{"version":3},"v4":{"meta.a":"1","a":"1"}}}',
      `$.subsets.V1: wanted ${NAME}; got the name "V1"`,
      '$.subsets.v2: wanted at least one key of the instances\' meta, such as {"version": "1"}; got an object',
      '$.subsets.v3.version: wanted a text in quotes, without control characters; got 3',
      '$.subsets.v4.a: wanted "a" or "meta.a", which are the same, once; got "1"',
    ],
    [
      'ejections that shrink',
      'config/services/orders',
      '{"outlierDetection":{"base":"10s","max":"5s","succesRate":80,"successRate":80}}',
      '$.outlierDetection.succesRate: wanted one of consecutive, base, max, maxEjected; got the unknown field "succesRate"',
      '$.outlierDetection.successRate: wanted one of consecutive, base, max, maxEjected; got "successRate", which is not supported by this version',
      '$.outlierDetection.max: wanted a duration not below base; got "5s"',
    ],
    [
      'a choice that is close to one',
      'config/mesh',
      '{"defaultIntention":"denny"}',
      '$.defaultIntention: wanted one of "allow", "deny"; got "denny". Did you mean "deny"?',
    ],
    [
      'a caller that is none',
      'config/intentions/payments',
      '{"allow":["Web",{"from":"*","jwt":"partner"}]}',
      '$.allow[0]: wanted a service name, "*" or a whole SPIFFE id; got "Web"',
      '$.allow[1].jwt: wanted one of from, methods, path; got "jwt", which is not supported by this version',
    ],
    [
      'listeners that cannot work',
      'config/gateways/public',
      '{"listeners":[{"port":443,"protocol":"https"},{"port":80,"certificates":["a"]},{"port":0},{"port":80,"address":"localhost"}]}',
      '$.listeners[0].certificates: wanted at least one certificate of config/certificates for https; got nothing',
      '$.listeners[1].certificates: wanted none without "protocol": "https"; got a list of 1',
      '$.listeners[2].port: wanted a port from 1 to 65535; got 0',
      '$.listeners[3].address: wanted an IP address to listen on, such as "0.0.0.0" or "::"; got "localhost"',
    ],
    [
      'a certificate where TLS is only passed on',
      'config/gateways/public',
      '{"listeners":[{"port":443,"protocol":"tls-passthrough","certificates":["a"]},{"port":1,"protocol":"tpc"}]}',
      '$.listeners[0].certificates: wanted none: TLS ends at the service, which has the certificate; got a list of 1',
      '$.listeners[1].protocol: wanted one of "http", "https", "tcp", "tls-passthrough"; got "tpc". Did you mean "tcp"?',
    ],
    [
      'a TCP route for calls between services',
      'config/tcp-routes/db',
      '{"port":5432,"to":"db"}',
      '$.gateways: wanted a list of at least one gateway; a call between services needs no TCP route: an egress listener names the service in "to"; got nothing',
    ],
    [
      'a TCP route with fields of HTTP',
      'config/tcp-routes/db',
      '{"gateways":[],"host":"db","path":"/","prot":5432,"sources":["web"],"to":"db"}',
      '$.gateways: wanted a list of at least one gateway; a call between services needs no TCP route: an egress listener names the service in "to"; got a list of 0',
      '$.port: wanted a port from 1 to 65535; got nothing',
      `$.host: wanted one of ${TCP_ROUTE_FIELDS}; got the unknown field "host"`,
      `$.path: wanted one of ${TCP_ROUTE_FIELDS}; got the unknown field "path"`,
      `$.prot: wanted one of ${TCP_ROUTE_FIELDS}; got the unknown field "prot". Did you mean "port"?`,
      `$.sources: wanted one of ${TCP_ROUTE_FIELDS}; got "sources", which is not supported by this version`,
    ],
    [
      'two kinds of server names',
      'config/tcp-routes/db',
      '{"gateways":["public"],"port":5432,"sni":"a","snis":["b"],"to":"db"}',
      '$: wanted one of sni and snis; got both',
    ],
    [
      'a server name that is any, and none at all',
      'config/tcp-routes/db',
      '{"gateways":["public"],"port":5432,"sni":"*","snis":[],"to":"db"}',
      '$.sni: wanted a server name: "shop.example.com" or "*.example.com"; got "*"',
      '$.snis: wanted a list of at least one server name; got a list of 0',
      '$: wanted one of sni and snis; got both',
    ],
    [
      'two listeners on one port, and a range that is none',
      'config/gateways/public',
      '{"listeners":[{"port":80},{"port":80}],"trustedProxies":["10.0.0.0/33"]}',
      '$.listeners[1].port: wanted a port and address that no listener above has; got 80',
      '$.trustedProxies[0]: wanted an address range such as "10.0.0.0/8" or "2001:db8::/32"; got "10.0.0.0/33"',
    ],
    [
      'a private key where its file belongs, without repeating it',
      'config/certificates/shop',
      `{"hosts":["*"],"certFile":"shop.pem","keyFile":"-----BEGIN PRIVATE KEY-----${'A'.repeat(60)}"}`,
      '$.hosts[0]: wanted a server name: "shop.example.com" or "*.example.com"; got "*"',
      '$.certFile: wanted an absolute path such as "/etc/gatemesh/tls/shop.pem"; got "shop.pem"',
      '$.keyFile: wanted an absolute path such as "/etc/gatemesh/tls/shop.pem"; got a string of 89 characters',
    ],
    [
      'an instance that names another node',
      'nodes/vm-a/instances/web/web-1',
      `{"node":"vm-b","address":"10.0.0.1","app":"127.0.0.1:0","protocol":"http","zone":"dc1","state":"redy","health":"passing","since":"today"}`,
      '$.node: wanted "vm-a", as in the key; got "vm-b"',
      '$.address: wanted an address such as "127.0.0.1:8080" or "[::1]:8080" with a port above 0; got "10.0.0.1"',
      '$.app: wanted an address such as "127.0.0.1:8080" or "[::1]:8080" with a port above 0; got "127.0.0.1:0"',
      '$.state: wanted one of "starting", "ready", "draining", "maintenance"; got "redy". Did you mean "ready"?',
      '$.since: wanted a time such as "2026-09-30T10:00:00Z"; got "today"',
    ],
    [
      'a key that is none',
      'config/route/shop',
      '{}',
      '$: wanted config/mesh, config/<kind>/<name> with a kind of services, routes, tcp-routes, intentions, gateways, certificates, nodes, nodes/<node>, nodes/<node>/instances/<service>/<id> or status/<node>; got the key "config/route/shop". Did you mean "config/routes/shop"?',
    ],
  ];
  for (const [name, key, text, ...wanted] of rows) {
    it(name, () => assert.deepEqual(problems(key, text), wanted));
  }

  it('no more than twenty problems', () => {
    assert.equal(problems(SHOP, JSON.stringify({ host: 'a', to: Array(100).fill(7) })).length, 20);
  });
});

describe('parseStatus', () => {
  const STATUS = {
    revision: 12,
    applied: 11,
    appliedAt: '2026-09-30T10:00:00.123Z',
    source: 'registry',
    version: '0.1.0',
    rejected: [
      {
        key: 'config/routes/shop',
        revision: 12,
        path: '$.to',
        error: '$.to: wanted …\n$.host: wanted …',
        using: null,
      },
    ],
    certNotAfter: null,
  };

  it('reads what a gateway writes', () => {
    assert.deepEqual(parseStatus('status/vm-a', JSON.stringify({ node: 'vm-a', ...STATUS })), {
      ok: true,
      status: { node: 'vm-a', ...STATUS },
    });
  });

  it('refuses the status of another node', () => {
    assert.deepEqual(parseStatus('status/vm-a', JSON.stringify({ ...STATUS, node: 'vm-b' })), {
      ok: false,
      problems: [{ path: '$.node', wanted: '"vm-a", as in the key', got: '"vm-b"' }],
    });
  });

  it('is not for other keys', () => assert.equal(parseStatus('nodes/vm-a', '{}').ok, false));
});
