import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Rejection } from '../../../registry/documents/types.ts';
import type { ExplainReport } from '../../../gateway/admin/source.ts';
import { adminSource, type AdminSourceParts } from '../../../gateway/supervisor/admin-source.ts';
import { EXPLANATION } from '../../support/admin-source.ts';
import { fakeClock } from '../../support/fake-clock.ts';

const NODE = 'spiffe://mesh.internal/node/vm-a';
const WEB = 'spiffe://mesh.internal/svc/web';
const END = 9_000_000;

const rejection = (key: string): Rejection => ({
  key,
  revision: 7,
  path: '$',
  error: '$: bad',
  using: null,
});

/** A gateway whose node has its certificate and whose service was refused one. */
function source(rejected: readonly Rejection[] = []) {
  const missing = { notBeforeMs: undefined, notAfterMs: undefined, nextRenewalMs: 1_000 };
  const parts = {
    clock: fakeClock(0),
    trustDomain: 'mesh.internal',
    version: '0.1.0',
    listeners: [],
    edge: { states: [] },
    store: { name: 'etcd' },
    supervisor: {
      config: { node: 'vm-a', zone: 'z' },
      instances: [],
      uptimeMs: 1,
      applied: 1,
      draining: false,
      fileProblem: 'a.yaml:1: bad',
      svid: () => ({}),
    },
    workers: {
      summaries: [{ pid: 1, state: 'running' }],
      explain: async () => EXPLANATION,
    },
    view: { state: { source: 'registry', rejected, documents: new Map() } },
    identity: {
      material: { svids: new Map([[NODE, { notAfterMs: END }]]) },
      state: [
        { identity: NODE, notBeforeMs: 0, notAfterMs: END, nextRenewalMs: undefined },
        { identity: WEB, ...missing, lastError: 'refused' },
      ],
    },
  };
  // Only what the questions below look at.
  return adminSource(parts as unknown as AdminSourceParts);
}

describe('adminSource', () => {
  it('is ready without the certificate of a service, and warns of it', () => {
    assert.deepEqual(source().ready(), {
      ready: true,
      why: [],
      warnings: [`no valid certificate for ${WEB}: refused`],
    });
  });

  it('lists an identity that has no certificate, and why', () => {
    const { identities, fileProblem } = source().status();
    assert.deepEqual(identities, [
      {
        identity: NODE,
        notBefore: '1970-01-01T00:00:00.000Z',
        notAfter: '1970-01-01T02:30:00.000Z',
        nextRenewal: null,
        lastError: null,
      },
      {
        identity: WEB,
        notBefore: null,
        notAfter: null,
        nextRenewal: '1970-01-01T00:00:01.000Z',
        lastError: 'refused',
      },
    ]);
    assert.equal(fileProblem, 'a.yaml:1: bad');
  });

  const explained = async (gateway: string | undefined, ...keys: string[]) => {
    const request = { method: 'GET', url: 'http://orders.mesh/', from: undefined, gateway };
    const report: ExplainReport = await source(keys.map(rejection)).explain({
      ...request,
      headers: [],
    });
    return report.notInForce?.map(({ key }) => key);
  };

  it('adds the rejected documents that may concern a request', async () => {
    const concerned = [
      'config/intentions/*',
      'config/intentions/orders',
      'config/routes/y',
      'config/services/orders',
    ];
    const others = ['config/intentions/web', 'config/services/web', 'config/gateways/public'];
    assert.deepEqual(await explained(undefined, ...concerned, ...others), concerned);
    assert.deepEqual(await explained('public', ...others), ['config/gateways/public']);
    assert.equal(await explained(undefined, ...others), undefined);
  });
});
