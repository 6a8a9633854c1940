import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TcpRouteDocument } from '../../../registry/documents/types.ts';
import { TcpRouteTable } from '../../../gateway/worker/routing/tcp-routes.ts';

function route(name: string, change: Partial<TcpRouteDocument> = {}): TcpRouteDocument {
  return {
    name,
    enabled: true,
    gateways: ['public'],
    port: 5_432,
    snis: [],
    to: [{ service: name, weight: 1 }],
    ...change,
  };
}

describe('TcpRouteTable', () => {
  const table = new TcpRouteTable([
    route('rest'),
    route('z-rest-too'),
    route('exact', { snis: ['db.example.com', 'other.example.com'] }),
    route('later', { snis: ['db.example.com'] }),
    route('wide', { snis: ['*.example.com'] }),
    route('wider', { snis: ['*.com'] }),
    route('off', { snis: ['off.example.org'], enabled: false }),
    route('named-only', { port: 443, snis: ['shop.example.com'] }),
    route('two-gateways', { gateways: ['inside', 'dmz'], port: 1 }),
  ]);
  const rows: readonly [
    name: string,
    gateway: string,
    port: number,
    sni: string,
    route: string | undefined,
  ][] = [
    ['an exact name', 'public', 5_432, 'db.example.com', 'exact'],
    ['the second name of a route', 'public', 5_432, 'other.example.com', 'exact'],
    ['the longest wildcard', 'public', 5_432, 'a.b.example.com', 'wide'],
    ['a shorter wildcard', 'public', 5_432, 'example.com', 'wider'],
    ['the route for any name, the first of two', 'public', 5_432, 'db.example.net', 'rest'],
    ['no name at all', 'public', 5_432, '', 'rest'],
    ['a disabled route', 'public', 5_432, 'off.example.org', 'rest'],
    ['another port', 'public', 5_433, 'db.example.com', undefined],
    ['a name nobody has', 'public', 443, 'db.example.com', undefined],
    ['no name where one is needed', 'public', 443, '', undefined],
    ['another gateway', 'dmz', 5_432, 'db.example.com', undefined],
    ['one of several gateways', 'dmz', 1, '', 'two-gateways'],
  ];
  for (const [name, gateway, port, sni, wanted] of rows) {
    it(`${name}: ${wanted ?? 'nothing'}`, () => {
      assert.equal(table.match(gateway, port, sni)?.route?.name, wanted);
    });
  }
});
