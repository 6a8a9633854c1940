import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StatusReport } from '../../../gateway/admin/source.ts';
import { judge } from '../../../gateway/cli/check.ts';
import { STATUS } from '../../support/admin-source.ts';

const NOW = Date.parse('2026-11-22T06:00:00Z');
const IDENTITY = STATUS.identities[0]!;
const INSTANCE = STATUS.instances[0]!;
const NONE = {
  identity: 'spiffe://mesh.internal/svc/orders',
  notBefore: null,
  notAfter: null,
  nextRenewal: '2026-11-22T06:01:00Z',
  lastError: null,
};
const CERTIFICATE = 'certificate spiffe://mesh.internal/svc/web';

function registry(changes: Partial<StatusReport['registry']>): Partial<StatusReport> {
  return { registry: { ...STATUS.registry, ...changes } };
}

describe('judge', () => {
  it('finds nothing wrong with a healthy node', () => {
    const findings = judge(STATUS, NOW).map(({ level, what, found }) => [level, what, found]);
    assert.deepEqual(findings, [
      ['OK', 'registry', 'connected to etcd at http://127.0.0.1:2379, current 0.4s ago'],
      ['OK', 'tables', 'revision 41'],
      ['OK', 'documents', 'all in force'],
      ['OK', CERTIFICATE, '75 % of its life left, ends in 18h'],
      ['OK', 'worker 4242', 'running'],
      ['OK', 'listener mesh', '10.0.0.1:15443'],
      ['OK', 'instance web/web-1', '127.0.0.1:8080 ready, passing since 2h ago'],
    ]);
  });

  /** What a change of the healthy status adds to the findings, as `LEVEL what: found`. */
  const rows: readonly [name: string, change: Partial<StatusReport>, finding: string][] = [
    [
      'registry away',
      registry({ connected: false, staleSeconds: 75 }),
      'FAIL registry: not connected to etcd at http://127.0.0.1:2379; last current 1m 15s ago',
    ],
    [
      'registry never there',
      registry({ connected: false, staleSeconds: null }),
      'FAIL registry: not connected to etcd at http://127.0.0.1:2379; last current never since the start',
    ],
    [
      'tables from disk',
      registry({ source: 'disk' }),
      'WARN tables: revision 41, from the snapshot on disk',
    ],
    [
      'no tables',
      registry({ source: 'none' }),
      'FAIL tables: none: neither the registry nor a snapshot on disk gave any',
    ],
    ['tables behind', registry({ revision: 43 }), 'WARN tables: revision 41 in force, 43 seen'],
    [
      'a resync held back',
      registry({ held: '12 of 12 routes would go' }),
      'FAIL resync held back: 12 of 12 routes would go',
    ],
    [
      'a rejected document with an older version',
      registry({
        rejected: [
          { key: 'config/routes/shop', revision: 40, path: '$.too', error: 'bad', using: 39 },
        ],
      }),
      'FAIL document config/routes/shop: revision 40 rejected; revision 39 stays in force: bad',
    ],
    [
      'a rejected document without one',
      registry({
        rejected: [
          { key: 'config/routes/shop', revision: 40, path: '$.too', error: 'bad', using: null },
        ],
      }),
      'FAIL document config/routes/shop: revision 40 rejected; nothing of it is in force: bad',
    ],
    [
      'a certificate under a quarter of its life',
      {
        identities: [
          {
            ...IDENTITY,
            notBefore: '2026-11-21T10:00:00Z',
            notAfter: '2026-11-22T10:00:00Z',
            lastError: 'CA unreachable',
          },
        ],
      },
      `FAIL ${CERTIFICATE}: 16 % of its life left, ends in 4h; last renewal failed: CA unreachable`,
    ],
    [
      'a certificate exactly at a quarter',
      {
        identities: [
          {
            ...IDENTITY,
            notBefore: '2026-11-22T03:00:00Z',
            notAfter: '2026-11-22T07:00:00Z',
            lastError: 'x',
          },
        ],
      },
      `WARN ${CERTIFICATE}: 25 % of its life left, ends in 1h; last renewal failed: x`,
    ],
    [
      'a certificate that is over',
      { identities: [{ ...IDENTITY, notAfter: '2026-11-22T05:58:00Z' }] },
      `FAIL ${CERTIFICATE}: expired 2m ago`,
    ],
    [
      'several problems of one document, on one line',
      registry({
        rejected: [
          {
            key: 'config/routes/shop',
            revision: 40,
            path: '$.a',
            error: '$.a: bad\n$.b: worse',
            using: 39,
          },
        ],
      }),
      'FAIL document config/routes/shop: revision 40 rejected; revision 39 stays in force: $.a: bad; $.b: worse',
    ],
    [
      'a certificate that could not be had',
      { identities: [IDENTITY, { ...NONE, lastError: 'svc/orders is refused' }] },
      'FAIL certificate spiffe://mesh.internal/svc/orders: none yet: svc/orders is refused',
    ],
    [
      'a certificate that is being asked for',
      { identities: [IDENTITY, NONE] },
      'WARN certificate spiffe://mesh.internal/svc/orders: none yet',
    ],
    [
      'a file that was refused on reload',
      { fileProblem: '2 problems in the configuration:\n  a.yaml:1: x\n  a.yaml:2: y' },
      'FAIL gateway file: the file on disk is not in force: 2 problems in the configuration: a.yaml:1: x; a.yaml:2: y',
    ],
    ['no certificate', { identities: [] }, 'FAIL certificates: none yet'],
    ['no workers', { workers: [] }, 'FAIL workers: none'],
    ['a worker down', { workers: [{ pid: 7, state: 'down' }] }, 'FAIL worker 7: down'],
    [
      'a listener that does not listen',
      {
        listeners: [{ id: 'edge:80', kind: 'edge', address: '0.0.0.0:80', error: 'EADDRINUSE' }],
      },
      'FAIL listener edge:80: 0.0.0.0:80: EADDRINUSE',
    ],
    [
      'a listener whose error names its address',
      {
        listeners: [
          {
            id: 'edge:80',
            kind: 'edge',
            address: '0.0.0.0:80',
            error: '0.0.0.0:80 (config/gateways/public) is in use',
          },
        ],
      },
      'FAIL listener edge:80: 0.0.0.0:80 (config/gateways/public) is in use',
    ],
    [
      'a failing instance',
      {
        instances: [
          { ...INSTANCE, health: 'failing', since: '2026-11-22T05:59:00Z', lastError: 'refused' },
        ],
      },
      'FAIL instance web/web-1: 127.0.0.1:8080 ready, failing since 1m ago: refused',
    ],
    [
      'an instance that was never seen well',
      { instances: [{ ...INSTANCE, health: 'unknown', since: '2026-11-22T05:59:00Z' }] },
      'WARN instance web/web-1: 127.0.0.1:8080 ready, unknown since 1m ago',
    ],
    [
      'an instance in maintenance',
      { instances: [{ ...INSTANCE, state: 'maintenance', since: '2026-11-22T05:59:00Z' }] },
      'WARN instance web/web-1: 127.0.0.1:8080 maintenance, passing since 1m ago',
    ],
    ['a node that drains', { draining: true }, 'WARN node: draining'],
  ];
  for (const [name, change, finding] of rows) {
    it(`tells: ${name}`, () => {
      const bad = judge({ ...STATUS, ...change }, NOW).filter(({ level }) => level !== 'OK');
      assert.deepEqual(
        bad.map(({ level, what, found }) => `${level} ${what}: ${found}`),
        [finding],
      );
      assert.ok(bad[0]?.todo, 'says what to do');
    });
  }

  const todos: readonly [name: string, change: Partial<StatusReport>, todo: string][] = [
    [
      'a reference to nothing',
      rejectedWith(
        '$.to: wanted the name of a service that exists; got "oders". Did you mean "orders"?',
      ),
      'create config/services/oders, or correct $.to',
    ],
    [
      'two references to nothing',
      rejectedWith(
        '$.gateways[0]: wanted the name of a gateway that exists (there is none); got "public"\n$.to[1]: wanted the name of a subset of web that exists; got "v1"',
      ),
      'create config/gateways/public, or correct $.gateways[0]; add the subset "v1" to config/services/web, or correct $.to[1]',
    ],
    [
      'any other problem',
      rejectedWith('$.to: wanted a service; got 1'),
      'correct $.to and put it again',
    ],
    [
      'an identity that the CA refuses',
      {
        identities: [
          { ...IDENTITY, identity: 'spiffe://mesh.internal/node/vm-a' },
          IDENTITY,
          { ...NONE, lastError: 'spiffe://mesh.internal/svc/orders is refused: not of this node' },
        ],
      },
      'on the CA host run "gatemesh ca token --node vm-a --services web,orders --gateway public --dir DIR", and put what it prints into identity.tokenFile of this node',
    ],
    [
      'a CA that is away',
      { identities: [IDENTITY, { ...NONE, lastError: 'connect ECONNREFUSED' }] },
      'it is tried again; check that the CA runs and that this VM may reach it',
    ],
    [
      'a certificate that others have to bring',
      { identities: [IDENTITY, { ...NONE, nextRenewal: null, lastError: 'own.crt is for web' }] },
      'nothing here asks for it: put one for it in the place of identity.certFile',
    ],
  ];
  for (const [name, change, todo] of todos) {
    it(`knows what to do about ${name}`, () => {
      const bad = judge({ ...STATUS, ...change }, NOW).filter(({ level }) => level !== 'OK');
      assert.deepEqual(
        bad.map((finding) => finding.todo),
        [todo],
      );
    });
  }
});

function rejectedWith(error: string): Partial<StatusReport> {
  const path = error.slice(0, error.indexOf(':'));
  return registry({
    rejected: [{ key: 'config/routes/r', revision: 4, path, error, using: null }],
  });
}
