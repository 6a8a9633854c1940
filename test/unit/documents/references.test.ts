import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatProblem } from '#kit/problem.ts';
import { parseDocument } from '../../../registry/documents/parse.ts';
import {
  adviceOnReference,
  checkReferences,
  knownOf,
} from '../../../registry/documents/references.ts';
import type { TypedDocument } from '../../../registry/documents/types.ts';

function typed(key: string, document: object): TypedDocument {
  const parsed = parseDocument(key, JSON.stringify(document));
  assert.ok(parsed.ok);
  return parsed.typed;
}

const KNOWN = knownOf(
  [
    typed('config/services/orders', { subsets: { v1: { version: '1' }, v2: { version: '2' } } }),
    typed('nodes/vm-a/instances/web/1', {
      address: '10.0.0.1:15443',
      app: '127.0.0.1:80',
      protocol: 'http',
      zone: 'dc1',
      state: 'ready',
      health: 'passing',
      since: '2026-09-30T10:00:00Z',
    }),
    typed('config/gateways/public', {
      listeners: [
        { port: 80 },
        { port: 5432, protocol: 'tcp' },
        { port: 5433, protocol: 'tls-passthrough' },
      ],
    }),
    typed('config/certificates/shop', { hosts: ['a'], certFile: '/c', keyFile: '/k' }),
  ],
  new Set(['config/gateways/broken', 'config/services/web']),
);

describe('checkReferences', () => {
  const rows: readonly [name: string, key: string, document: object, ...problems: string[]][] = [
    [
      'finds nothing wrong with services configured or registered',
      'config/routes/r',
      { host: 'a', gateways: ['public'], to: ['orders@v1', 'web'] },
    ],
    [
      'finds a service that is nowhere',
      'config/routes/r',
      { host: 'a', to: ['web', 'order@v1'] },
      '$.to[1]: wanted the name of a service that exists; got "order". Did you mean "orders"?',
    ],
    [
      'finds a subset that is nowhere, even with weight 0',
      'config/routes/r',
      { host: 'a', to: ['web', { service: 'orders', subset: 'v3', weight: 0 }] },
      '$.to[1].subset: wanted the name of a subset of orders that exists; got "v3". Did you mean "v1"?',
    ],
    [
      'finds a subset of a service without a document',
      'config/routes/r',
      { host: 'a', to: 'web@v1' },
      '$.to: wanted the name of a subset of web that is in force; got "v1", and config/services/web is itself rejected',
    ],
    [
      'finds a gateway that is nowhere',
      'config/routes/r',
      { host: 'a', gateways: ['public', 'pulbic'], to: 'web' },
      '$.gateways[1]: wanted the name of a gateway that exists; got "pulbic". Did you mean "public"?',
    ],
    [
      'finds a certificate that is nowhere',
      'config/gateways/g',
      {
        listeners: [{ port: 80 }, { port: 443, protocol: 'https', certificates: ['shop', 'pay'] }],
      },
      '$.listeners[1].certificates[1]: wanted the name of a certificate that exists; got "pay"',
    ],
    [
      'knows one that is there and rejected',
      'config/routes/r',
      { host: 'a', gateways: ['broken'], to: 'web' },
      '$.gateways[0]: wanted the name of a gateway that is in force; got "broken", and config/gateways/broken is itself rejected',
    ],
    [
      'names the field of a single long form',
      'config/routes/r',
      { host: 'a', to: { service: 'orders', subset: 'v3' } },
      '$.to.subset: wanted the name of a subset of orders that exists; got "v3". Did you mean "v1"?',
    ],
    [
      'names the field of a long form in a list',
      'config/routes/r',
      { host: 'a', to: [{ service: 'order' }] },
      '$.to[0].service: wanted the name of a service that exists; got "order". Did you mean "orders"?',
    ],
    [
      'finds what a TCP route points at',
      'config/tcp-routes/r',
      { gateways: ['pulbic'], port: 1, to: ['orders@v3', 'wep', 'web'] },
      '$.gateways[0]: wanted the name of a gateway that exists; got "pulbic". Did you mean "public"?',
      '$.to[0]: wanted the name of a subset of orders that exists; got "v3". Did you mean "v1"?',
      '$.to[1]: wanted the name of a service that exists; got "wep". Did you mean "web"?',
    ],
    [
      'finds nothing wrong with TCP routes for listeners that exist',
      'config/tcp-routes/r',
      { gateways: ['public'], port: 5433, sni: 'a', to: 'web' },
    ],
    [
      'finds a port with no listener for TCP',
      'config/tcp-routes/r',
      { gateways: ['public'], port: 80, to: 'web' },
      '$.port: wanted the port of a listener of public with protocol "tcp" or "tls-passthrough"; got 80',
    ],
    [
      'finds a server name where nobody reads it',
      'config/tcp-routes/r',
      { gateways: ['public'], port: 5432, sni: 'a', to: 'web' },
      '$.port: wanted the port of a listener of public with protocol "tls-passthrough", since it asks for a name; got 5432',
    ],
    [
      'lets an intention name callers that are not there yet',
      'config/intentions/x',
      { allow: ['y'] },
    ],
  ];
  for (const [name, key, document, ...problems] of rows) {
    it(name, () => {
      const found = checkReferences(typed(key, document), KNOWN, JSON.stringify(document));
      assert.deepEqual(found.map(formatProblem), problems);
    });
  }
});

describe('adviceOnReference', () => {
  const rows: readonly [key: string, document: object, advice: string][] = [
    [
      'config/routes/r',
      { host: 'a', to: 'order' },
      'create config/services/order, or correct $.to',
    ],
    [
      'config/routes/r',
      { host: 'a', to: ['orders', 'orders@v3'] },
      'add the subset "v3" to config/services/orders, or correct $.to[1]',
    ],
    [
      'config/routes/r',
      { host: 'a', gateways: ['new'], to: 'web' },
      'create config/gateways/new, or correct $.gateways[0]',
    ],
    [
      'config/routes/r',
      { host: 'a', gateways: ['broken'], to: 'web' },
      'correct config/gateways/broken, or $.gateways[0]',
    ],
    [
      'config/gateways/g',
      { listeners: [{ port: 443, protocol: 'https', certificates: ['pay'] }] },
      'create config/certificates/pay, or correct $.listeners[0].certificates[0]',
    ],
  ];
  for (const [key, document, advice] of rows) {
    it(advice, () => {
      const [found] = checkReferences(typed(key, document), KNOWN, JSON.stringify(document));
      assert.equal(adviceOnReference(formatProblem(found!)), advice);
    });
  }

  it('knows nothing of other problems', () => {
    assert.equal(adviceOnReference('$.timeout: wanted a duration; got "x"'), undefined);
  });
});
