/**
 * What the decisions of one request cost, without any socket: ns per route match with 10, 1,000 and 10,000 routes, ns per
 * pick, and ms to put one changed document in force. Prints only; run it alone on a quiet machine:
 * `node test/bench/micro-routing.ts`
 */
import { seededRng } from '#kit/rng.ts';
import type { RouteDocument } from '../../registry/documents/types.ts';
import { EndpointSet } from '../../gateway/worker/balance/endpoint-set.ts';
import { Endpoint } from '../../gateway/worker/balance/endpoint.ts';
import { pickEndpoint } from '../../gateway/worker/balance/p2c.ts';
import { buildRouteTable, EGRESS } from '../../gateway/worker/routing/table.ts';
import type { RequestView } from '../../gateway/worker/routing/request-view.ts';
import { Tables } from '../../gateway/worker/tables.ts';
import { ejectionGroup, endpoints, instance } from '../unit/balance/simulation.ts';
import { path, route } from '../unit/routing/routes.ts';
import { cpuMs, nsPerCall, row } from './micro.ts';

const ROUNDS = 300_000;

/** As the data path asks: a new string for each request, so that its hash is not there yet. */
function request(host: string, text: string): RequestView {
  const bytes = Buffer.from(host + text, 'latin1');
  return {
    method: 'GET',
    get host() {
      return bytes.latin1Slice(0, host.length);
    },
    path: text,
    query: '',
    header: () => undefined,
  };
}

const SHAPES: readonly [name: string, (i: number) => RouteDocument, (i: number) => RequestView][] =
  [
    [
      'one route per host',
      (i) => route(`r${i}`, { hosts: [`host-${i}.example.com`] }),
      (i) => request(`host-${i}.example.com`, '/api/v1/orders/42'),
    ],
    [
      'all on one host, by prefix',
      (i) => route(`r${i}`, { hosts: ['shop.example.com'], path: path(`/api/v1/part-${i}`) }),
      (i) => request('shop.example.com', `/api/v1/part-${i}/orders/42`),
    ],
    [
      'all on one host, exact',
      (i) => route(`r${i}`, { hosts: ['shop.example.com'], path: path(`=/api/v1/part-${i}`) }),
      (i) => request('shop.example.com', `/api/v1/part-${i}`),
    ],
    [
      'one wildcard host each',
      (i) => route(`r${i}`, { hosts: [`*.tenant-${i}.example.com`] }),
      (i) => request(`www.tenant-${i}.example.com`, '/api/v1/orders/42'),
    ],
  ];

for (const [name, document, asked] of SHAPES) {
  for (const count of [10, 1_000, 10_000]) {
    const documents = Array.from({ length: count }, (_, i) => document(i));
    const table = buildRouteTable(documents);
    const requests = Array.from({ length: 64 }, (_, i) => asked((i * 7919) % count));
    const ns = nsPerCall(ROUNDS, (i) => {
      const match = table.match(EGRESS, '', requests[i & 63]!);
      if (match === undefined) throw new Error('no match');
      return match;
    });
    row(`match, ${name}, ${count} routes`, ns, 'ns');
    const changed = documents.with(1, { ...documents[1]! });
    const ms = cpuMs(() => buildRouteTable(changed, table));
    row(`  one of them changed`, ms, 'ms');
  }
}

for (const count of [2, 5, 100, 10_000]) {
  const rng = seededRng(1);
  const all = endpoints(Array.from({ length: count }, (_, i) => 1 + (i % 3)));
  for (const [i, endpoint] of all.entries()) {
    endpoint.latencyMs = 5 + (i % 7);
    endpoint.sampledAtMs = i % 100;
    endpoint.inFlight = i % 4;
  }
  const set = new EndpointSet(all, () => true);
  row(
    `pick among ${count} endpoints`,
    nsPerCall(ROUNDS, (i) => pickEndpoint(set, i, rng, undefined)),
    'ns',
  );
}

{
  const endpoint = new Endpoint('a', instance('a'), undefined, ejectionGroup(1));
  const ns = nsPerCall(ROUNDS, (i) => {
    endpoint.started(i);
    endpoint.finished(i + 5, 5, 'ok');
  });
  row('started and finished', ns, 'ns');
}

{
  const tables = new Tables({ trustDomain: 'mesh.internal', localNode: 'vm-a', rng: seededRng(1) });
  const entry = (i: number, weight: number) => {
    const document = instance(`i${i}`, { service: `s${i % 100}`, weight });
    return [
      `nodes/n/instances/${document.service}/i${i}`,
      { kind: 'instances', document },
    ] as const;
  };
  const put = Array.from({ length: 10_000 }, (_, i) => entry(i, 100));
  const ms = cpuMs(() => tables.apply({ revision: 1, reset: true, put, deleted: [] }));
  row('10,000 instances of 100 services put in force', ms, 'ms');
  const ns = nsPerCall(2_000, (i) => {
    const one = entry(i % 10_000, 1 + (i % 100));
    tables.apply({ revision: i + 2, reset: false, put: [one], deleted: [] });
    return tables.service(one[1].document.service)!.endpoints(undefined);
  });
  row('  one of them changed, and its service asked for', ns / 1e6, 'ms');
  const asked = request('s7.mesh', '/api/v1/orders/42');
  row(
    'resolve a service by its name',
    nsPerCall(ROUNDS, () => tables.resolve(EGRESS, '', asked)),
    'ns',
  );
  row(
    'authorise',
    nsPerCall(ROUNDS, () => tables.authorise('s7', 'spiffe://x/svc/web', asked)),
    'ns',
  );
}
