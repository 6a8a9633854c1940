import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Rejection } from '../../registry/documents/types.ts';
import { curl } from '../support/curl.ts';
import { eventually } from '../support/eventually.ts';
import { startLoad, type Load, type PhaseReport } from '../support/load.ts';
import { mesh, type Mesh, type MeshNode } from '../support/mesh.ts';
import { nginx } from '../support/origins.ts';
import { fitShares } from '../support/statistics.ts';

const CANARY = 'config/routes/orders-canary';
const GOOD: Readonly<Record<string, object>> = {
  [CANARY]: {
    host: 'orders.mesh',
    to: [
      { service: 'orders', subset: 'v1', weight: 50 },
      { service: 'orders', subset: 'v2', weight: 50 },
    ],
  },
  'config/services/orders': { subsets: { v1: { version: '1' }, v2: { version: '2' } } },
  'config/intentions/orders': { allow: ['*'] },
};

/** A connection reset tells at once; this is for what was under way on it. */
const AVOIDED_WITHIN_MS = 250;

let running: Mesh;

before(async () => {
  const described = mesh()
    .node('vm-a')
    .node('vm-b')
    .node('vm-c')
    .service('web', { on: 'vm-a', origin: nginx('web') })
    .service('orders', { on: 'vm-b', version: '1', origin: nginx('orders-v1') })
    .service('orders', { on: 'vm-c', version: '2', origin: nginx('orders-v2') });
  for (const [key, document] of Object.entries(GOOD)) described.document(key, document);
  running = await described.start();
});

after(async () => {
  await running?.stop();
});

async function underLoad(during: (load: Load) => Promise<void>): Promise<PhaseReport> {
  const target = running.node('vm-a').webEgress;
  const load = await startLoad({ target, host: 'orders.mesh', perSecond: 300 });
  try {
    await during(load);
    return (await load.stop()).get('start')!;
  } finally {
    await load.kill();
  }
}

async function answered(load: Load, requests: number): Promise<void> {
  await eventually(async () => {
    const { requests: done } = await load.report('start');
    assert.ok(done > requests, `${done} of ${requests} requests are answered`);
  }, 30_000);
}

/** The traffic was what the good documents say: nothing failed, and half of it went to each side. */
function assertUnchanged(report: PhaseReport): string {
  assert.deepEqual(
    report.failures.map(({ what }) => what),
    [],
  );
  const counts = ['orders-v1', 'orders-v2'].map((name) => report.answers[name]?.count ?? 0);
  const { p } = fitShares(counts, [50, 50]);
  // Ten of these a run: at 0.01 every tenth run would fail by chance. A document that took effect has p = 0.
  assert.ok(p > 1e-5, `v1 and v2 got ${counts.join(' and ')}, p ${p}`);
  return `${report.requests} requests, 0 failed, v1 ${counts[0]}, v2 ${counts[1]}, p ${p.toFixed(3)}`;
}

describe('a bad document', () => {
  const to = [{ service: 'orders', subset: 'v1', weight: 100 }];
  type Bad = { name: string; key: string; document: unknown } & Pick<Rejection, 'path' | 'hint'> & {
      says: RegExp;
    };
  const kinds: readonly Bad[] = [
    {
      name: 'text that is not JSON',
      key: CANARY,
      document: '{"host":"orders.mesh","to":[',
      path: '$',
      says: /the end of the text/,
    },
    {
      name: 'a misspelt field deep inside',
      key: CANARY,
      document: { host: 'orders.mesh', to: [{ service: 'orders', subset: 'v1', weigth: 100 }] },
      path: '$.to[0].weigth',
      hint: 'weight',
      says: /unknown field "weigth"/,
    },
    {
      name: 'a weight given as text',
      key: CANARY,
      document: { host: 'orders.mesh', to: [{ service: 'orders', subset: 'v1', weight: '100' }] },
      path: '$.to[0].weight',
      says: /wanted an integer weight .*; got "100"/,
    },
    {
      name: 'weights whose sum is 0',
      key: CANARY,
      document: { host: 'orders.mesh', to: [{ service: 'orders', subset: 'v1', weight: 0 }] },
      path: '$.to',
      says: /sum/,
    },
    {
      name: 'a host with a scheme',
      key: CANARY,
      document: { host: 'http://orders.mesh', to },
      path: '$.host',
      says: /without scheme/,
    },
    {
      name: 'a regular expression that does not compile',
      key: CANARY,
      document: { host: 'orders.mesh', path: '~^/(a+', to },
      path: '$.path',
      says: /regular expression/,
    },
    {
      name: 'a destination nobody has heard of',
      key: CANARY,
      document: { host: 'orders.mesh', to: 'order' },
      path: '$.to',
      hint: 'orders',
      says: /"order"/,
    },
    {
      name: 'a subset that the service does not have',
      key: CANARY,
      document: { host: 'orders.mesh', to: 'orders@v3' },
      path: '$.to',
      hint: 'v1',
      says: /v3/,
    },
    {
      name: 'a duration in words',
      key: 'config/services/orders',
      document: { subsets: { v1: { version: '1' }, v2: { version: '2' } }, timeout: '3 seconds' },
      path: '$.timeout',
      says: /duration such as/,
    },
    {
      name: 'a misspelt field of an intention',
      key: 'config/intentions/orders',
      document: { alow: ['nobody'] },
      path: '$.alow',
      hint: 'allow',
      says: /unknown field "alow"/,
    },
  ];

  for (const { name, key, document, path, hint, says } of kinds) {
    it(`${name}: traffic unchanged, reported by all three with path and hint, cleared when corrected`, async (t) => {
      const { registry } = running;
      const rejections = async (): Promise<(Rejection | undefined)[]> =>
        (await registry.statuses()).map(({ rejected }) => rejected.find((one) => one.key === key));
      const report = await underLoad(async (load) => {
        const revision = await registry.put(key, document);
        await eventually(async () => {
          const reported = await rejections();
          for (const rejection of reported) {
            assert.equal(rejection?.revision, revision);
            assert.equal(rejection.path, path);
            assert.match(rejection.error, says);
            assert.equal(rejection.hint, hint);
            assert.ok(rejection.using !== null && rejection.using < revision);
          }
        });
        await answered(load, 300);
        await registry.inForce(await registry.put(key, GOOD[key]));
        await eventually(async () => {
          assert.deepEqual(await rejections(), [undefined, undefined, undefined]);
        });
      });
      t.diagnostic(assertUnchanged(report));
    });
  }
});

describe('a gateway that dies', () => {
  it('is avoided at once, its instances leave with the lease, and it takes traffic again when it is back', async (t) => {
    const { registry } = running;
    await registry.inForce(await registry.put(CANARY, { host: 'orders.mesh', to: 'orders' }));
    let victim = 'orders-v2';
    const inRegistry = async (): Promise<string[]> =>
      (await registry.instances('orders')).map((instance) => instance.node).toSorted();
    let killedAt = 0;
    let goneAfterMs = 0;
    const report = await underLoad(async (load) => {
      await answered(load, 1_000);
      const { answers: early } = await load.report('start');
      // The busier one, for nobody would notice the loss of the other.
      if ((early['orders-v1']?.count ?? 0) > (early['orders-v2']?.count ?? 0)) victim = 'orders-v1';
      const node = running.node(victim === 'orders-v1' ? 'vm-b' : 'vm-c');
      const other = victim === 'orders-v1' ? 'vm-c' : 'vm-b';
      killedAt = Date.now();
      await node.kill();
      await eventually(async () => assert.deepEqual(await inRegistry(), [other]), 40_000);
      goneAfterMs = Date.now() - killedAt;
      await node.start();
      const startedAt = Date.now();
      await eventually(async () => {
        const { answers } = await load.report('start');
        assert.ok((answers[victim]?.lastAt ?? 0) > startedAt, `${victim} answers nothing yet`);
      }, 20_000);
    });
    await registry.inForce(await registry.put(CANARY, GOOD[CANARY]));

    const late = report.failures.filter(({ at }) => at > killedAt + AVOIDED_WITHIN_MS);
    const last = report.failures.at(-1);
    t.diagnostic(
      `${report.failures.length} of ${report.requests} GETs failed` +
        (last === undefined ? '' : `, the last begun ${last.at - killedAt} ms after the kill`),
    );
    t.diagnostic(
      `its instances left the registry ${(goneAfterMs / 1_000).toFixed(1)} s after the kill`,
    );
    assert.deepEqual(late, []);
  });
});

describe('while etcd is down', () => {
  it('traffic goes on as before', async (t) => {
    const report = await underLoad(async (load) => {
      await running.etcd.kill();
      await eventually(async () => {
        for (const node of running.nodes) {
          const { registry } = await node.status();
          assert.equal(registry.connected, false, `${node.name} has not noticed`);
        }
      }, 15_000);
      await answered(load, 1_500);
    });
    t.diagnostic(assertUnchanged(report));
  });

  for (const role of ['calls', 'is called'] as const) {
    const name = role === 'calls' ? 'vm-a' : 'vm-b';
    it(`and the CA too, ${name}, which ${role}, is killed with kill -9 and serves from disk within 2 s`, async (t) => {
      await running.ca.stop();
      const node = running.node(name);
      await node.kill();
      const began = performance.now();
      await node.start();
      await eventually(() => serves(node), 10_000);
      const elapsed = performance.now() - began;
      t.diagnostic(`${name} serves ${elapsed.toFixed(0)} ms after its start`);
      assert.ok(elapsed < 2_000, `${elapsed} ms`);
      const { registry } = await node.status();
      assert.equal(registry.source, 'disk');
      assert.equal(registry.connected, false);
    });
  }

  it('and comes back, everything is in step again without a restart', async () => {
    await running.etcd.restart();
    await running.ca.start();
    const { registry } = running;
    await eventually(async () => {
      for (const node of running.nodes) {
        const status = await node.status();
        assert.equal(status.registry.connected, true, `${node.name} is not connected`);
        assert.equal(status.registry.source, 'registry');
      }
    }, 30_000);
    await registry.inForce(await registry.put(CANARY, { host: 'orders.mesh', to: 'orders@v2' }));
    for (const { egress } of running.nodes) {
      assert.match((await curl(egress, { host: 'orders.mesh' })).body, /^orders-v2\n/);
    }
  });

  /** Through its own listeners when it calls; through vm-a's until vm-b's instance answers when it is called. */
  async function serves(node: MeshNode): Promise<void> {
    const caller = running.node('vm-a');
    const { status, body } = await curl(caller.webEgress, { host: 'orders.mesh' });
    assert.equal(status, 200, body);
    if (node !== caller) assert.match(body, /^orders-v1\n/);
  }
});
