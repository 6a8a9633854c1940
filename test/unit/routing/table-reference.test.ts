import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import type { RouteDocument } from '../../../registry/documents/types.ts';
import type { RequestView } from '../../../gateway/worker/routing/request-view.ts';
import { buildRouteTable, EGRESS } from '../../../gateway/worker/routing/table.ts';
import { path, route } from './routes.ts';

const segments = fc.array(fc.constantFrom('a', 'b', 'ab'), { maxLength: 3 });
const paths = fc.tuple(segments, fc.boolean()).map(([parts, closes]) => {
  const text = `/${parts.join('/')}`;
  return closes && !text.endsWith('/') ? `${text}/` : text;
});
const hosts = fc.constantFrom('orders', 'orders.mesh', 'a.example.com', 'b.a.example.com', 'com');
const patterns = fc.oneof(hosts, fc.constantFrom('*', '*.mesh', '*.com', '*.example.com'));
const few = <T>(values: fc.Arbitrary<T>) => fc.uniqueArray(values, { maxLength: 2 });

const routeChanges = fc.record({
  enabled: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, fc.constant(false)),
  priority: fc.constantFrom(0, 0, 0, 1, -1),
  gateways: fc.constantFrom([], [], [], ['public']),
  hosts: fc.uniqueArray(patterns, { minLength: 1, maxLength: 2 }),
  path: fc.oneof(
    paths.map((value) => path(value)),
    paths.map((value) => path(`=${value}`)),
    fc.constantFrom('^/a', '^/b$', '/ab').map((value) => path(`~${value}`)),
  ),
  methods: few(fc.constantFrom('GET', 'POST')),
  headers: fc.constantFrom<Record<string, string>>({}, {}, { 'x-a': '1' }, { 'x-a': '2' }),
  query: fc.constantFrom<Record<string, string>>({}, {}, { v: '1' }, { v: '1', w: '' }),
  sources: few(fc.constantFrom('web', 'cron')),
});
const routeLists = fc
  .array(routeChanges, { maxLength: 30 })
  .map((changes) => changes.map((change, i) => route(`r${(i * 7) % 31}`, change)));

const requests = fc.record({
  host: hosts,
  path: paths,
  method: fc.constantFrom('GET', 'POST'),
  query: fc.constantFrom('', 'v=1', 'w&v=1', 'v=2'),
  header: fc.constantFrom(
    () => undefined,
    () => '1',
  ),
});

/** Every route is tried; what matches is sorted by the sentence in the contract. */
function slowMatch(
  documents: readonly RouteDocument[],
  scope: string,
  source: string,
  asked: RequestView,
): string | undefined {
  const [first] = documents
    .map((document) => ({ document, host: slowHost(document, scope, asked.host) }))
    .filter(({ document, host }) => {
      const parameters = new URLSearchParams(asked.query);
      return (
        host > 0 &&
        document.enabled &&
        (scope === EGRESS ? document.gateways.length === 0 : document.gateways.includes(scope)) &&
        slowPath(document, asked.path) &&
        (document.methods.length === 0 || document.methods.includes(asked.method)) &&
        (document.sources.length === 0 || document.sources.includes(source)) &&
        Object.entries(document.headers).every(([name, value]) => asked.header(name) === value) &&
        Object.entries(document.query).every(([k, v]) => parameters.getAll(k).includes(v))
      );
    })
    .toSorted((a, b) => {
      const keys = [a, b].map(({ document: d, host }) => [
        -d.priority,
        -host,
        ['exact', 'prefix', 'regex'].indexOf(d.path.kind),
        d.path.kind === 'prefix' ? -d.path.value.replace(/\/$/, '').length : 0,
        -(
          Math.min(1, d.methods.length) +
          Math.min(1, d.sources.length) +
          Object.keys(d.headers).length +
          Object.keys(d.query).length
        ),
      ]);
      const at = keys[0]!.findIndex((key, i) => key !== keys[1]![i]);
      if (at >= 0) return keys[0]![at]! - keys[1]![at]!;
      return a.document.name < b.document.name ? -1 : 1;
    });
  return first?.document.name;
}

/** 0 when none of the hosts matches, else higher the more specific the best one is. */
function slowHost({ hosts: all }: RouteDocument, scope: string, host: string): number {
  const names = scope === EGRESS ? [host, `${host}.mesh`, host.replace(/\.mesh$/, '')] : [host];
  const suffixed = scope === EGRESS && !host.includes('.') ? `${host}.mesh` : host;
  return Math.max(
    ...all.map((pattern) => {
      if (pattern === '*') return 1;
      if (pattern.startsWith('*.')) return suffixed.endsWith(pattern.slice(1)) ? pattern.length : 0;
      return names.includes(pattern) ? 1_000 : 0;
    }),
  );
}

function slowPath({ path: { kind, value } }: RouteDocument, text: string): boolean {
  if (kind === 'exact') return text === value;
  if (kind === 'regex') return new RegExp(value, 'u').test(text);
  const wanted = value.split('/').filter(Boolean);
  return wanted.every((segment, i) => text.split('/')[i + 1] === segment);
}

it('matches like trying every route and sorting by the contract', () => {
  fc.assert(
    fc.property(
      routeLists,
      requests,
      fc.constantFrom(EGRESS, 'public'),
      fc.constantFrom('', 'web'),
      (documents, asked, scope, source) => {
        const table = buildRouteTable(documents);
        const chosen = slowMatch(documents, scope, source, asked);
        assert.equal(table.match(scope, source, asked)?.name, chosen);
        const considered = table.considered(scope, source, asked);
        assert.equal(considered.find(({ matched }) => matched)?.route, chosen);
        assert.ok(considered.every(({ matched, why }) => matched === (why === '')));
      },
    ),
    { numRuns: 3_000 },
  );
});

it('a table made from the one before matches like a new one', () => {
  fc.assert(
    fc.property(routeLists, routeLists, fc.array(requests), (before, after, asked) => {
      const kept = [...before.slice(0, 5), ...after.map((r) => ({ ...r, name: `n-${r.name}` }))];
      const changed = buildRouteTable(kept, buildRouteTable(before));
      const made = buildRouteTable(kept);
      for (const one of asked) {
        assert.equal(
          changed.match(EGRESS, '', one)?.document,
          made.match(EGRESS, '', one)?.document,
        );
      }
    }),
    { numRuns: 300 },
  );
});
