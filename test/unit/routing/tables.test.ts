import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { InstanceDocument } from '../../../registry/documents/types.ts';
import { EGRESS } from '../../../gateway/worker/routing/table.ts';
import { request, route } from './routes.ts';
import { put, Subject } from './subject.ts';

describe('resolve', () => {
  it('by route, else for egress to the service the host names', () => {
    const subject = new Subject(
      put.instance('a'),
      put.service('billing'),
      put.route(route('canary', { hosts: ['orders.mesh'], path: { kind: 'prefix', value: '/x' } })),
      put.route(route('shop', { hosts: ['shop.example.com'], gateways: ['public'] })),
    );
    assert.equal(subject.resolve('GET orders/x'), 'canary');
    assert.equal(subject.resolve('GET orders/y'), 'service orders');
    assert.equal(subject.resolve('GET orders.mesh/y'), 'service orders');
    assert.equal(subject.resolve('GET billing/'), 'service billing');
    assert.equal(subject.resolve('GET unknown/'), undefined);
    assert.equal(subject.resolve('GET shop.example.com/'), undefined);
    assert.equal(subject.resolve('GET shop.example.com/', 'public'), 'shop');
    assert.equal(subject.resolve('GET orders/y', 'public'), undefined);
  });

  it('allocates no second answer for the same host', () => {
    const { tables } = new Subject(put.instance('a'));
    const first = tables.resolve(EGRESS, '', request('GET orders/'));
    assert.equal(tables.resolve(EGRESS, '', request('GET orders/y')), first);
  });

  it('forgets a service whose last instance left, keeps one that has a document', () => {
    const subject = new Subject(put.instance('a'), put.service('billing'));
    assert.equal(subject.resolve('GET orders/'), 'service orders');
    subject.change({ deleted: ['nodes/vm-a/instances/orders/a'] });
    assert.equal(subject.resolve('GET orders/'), undefined);
    assert.equal(subject.tables.service('orders'), undefined);
    assert.deepEqual(subject.usable('billing'), []);
  });

  it('follows routes as they change, and their deletion', () => {
    const subject = new Subject(put.instance('a'), put.route(route('r', { hosts: ['orders'] })));
    assert.equal(subject.resolve('GET orders/'), 'r');
    subject.change({ put: [put.route(route('r', { hosts: ['other'] }))] });
    assert.equal(subject.resolve('GET orders/'), 'service orders');
    assert.equal(subject.resolve('GET other/'), 'r');
    subject.change({ deleted: ['config/routes/r'] });
    assert.equal(subject.resolve('GET other/'), undefined);
  });
});

describe('which endpoints take requests', () => {
  const cases: readonly [name: string, change: Partial<InstanceDocument>, usable: boolean][] = [
    ['ready and passing', {}, true],
    ['failing', { health: 'failing' }, false],
    ['not checked yet', { health: 'unknown' }, false],
    ['starting', { state: 'starting' }, false],
    ['draining', { state: 'draining' }, false],
    ['maintenance', { state: 'maintenance' }, false],
    ['weight 0', { weight: 0 }, false],
  ];
  for (const [name, change, usable] of cases) {
    it(name, () => {
      const subject = new Subject(put.instance('a', change), put.instance('b'));
      assert.deepEqual(subject.usable('orders'), usable ? ['a', 'b'] : ['b']);
    });
  }

  it('by subset, with either spelling of the key', () => {
    const subsets = { v1: { version: '1' }, v2: { 'meta.version': '2', tier: 'x' } };
    const subject = new Subject(
      put.service('orders', { subsets }),
      put.instance('a', { meta: { version: '1' } }),
      put.instance('b', { meta: { version: '2', tier: 'x' } }),
      put.instance('c', { meta: { version: '2' } }),
    );
    assert.deepEqual(subject.usable('orders', 'v1'), ['a']);
    assert.deepEqual(subject.usable('orders', 'v2'), ['b']);
    assert.deepEqual(subject.usable('orders', 'v3'), []);
    assert.deepEqual(subject.usable('orders', 'toString'), []);
    subject.change({ put: [put.instance('c', { meta: { version: '1' } })] });
    assert.deepEqual(subject.usable('orders', 'v1'), ['a', 'c']);
  });

  it('none of a node in maintenance, nor what a node may not serve', () => {
    const subject = new Subject(put.instance('a'), put.instance('b'));
    subject.change({ put: [put.nodeIntent('vm-a', { maintenance: true })] });
    assert.deepEqual(subject.usable('orders'), ['b']);
    subject.change({ put: [put.nodeIntent('vm-a', { services: ['billing'] })] });
    assert.deepEqual(subject.usable('orders'), ['b']);
    subject.change({ deleted: ['config/nodes/vm-a'] });
    assert.deepEqual(subject.usable('orders'), ['a', 'b']);
  });

  it('for requests from the mesh: those of this node, draining ones too', () => {
    const subject = new Subject(
      put.instance('a', { state: 'draining' }),
      put.instance('a2', { node: 'vm-a', health: 'failing' }),
      put.instance('b'),
    );
    assert.deepEqual(
      subject.tables.localInstances('orders').map(({ instance: { id } }) => id),
      ['a'],
    );
    assert.deepEqual(subject.tables.localInstances('unknown'), []);
    subject.change({ put: [put.instance('a2', { node: 'vm-a' })] });
    assert.equal(subject.tables.localInstances('orders').length, 2);
  });
});

describe('an endpoint', () => {
  it('keeps what was learnt about it while its document changes', () => {
    const subject = new Subject(put.instance('a'), put.instance('b'));
    const endpoint = subject.endpoint('a');
    endpoint.upstream = 'connections';
    subject.change({ put: [put.instance('a', { weight: 7, meta: { version: '2' } })] });
    assert.equal(subject.endpoint('a'), endpoint);
    assert.equal(endpoint.weight, 7);
    subject.change({ put: [put.instance('a'), put.instance('b')], reset: true });
    assert.equal(subject.endpoint('a'), endpoint);
    assert.deepEqual(subject.removed, []);
  });

  it('is another one at another address', () => {
    const subject = new Subject(put.instance('a'));
    const endpoint = subject.endpoint('a');
    subject.change({ put: [put.instance('a', { app: '127.0.0.1:9090' })] });
    assert.notEqual(subject.endpoint('a'), endpoint);
    assert.deepEqual(subject.removed, [endpoint.key]);
    assert.deepEqual(subject.usable('orders'), ['a']);
  });

  it('leaves with its key, and with a reset that does not name it', () => {
    const subject = new Subject(put.instance('a'), put.instance('b'), put.instance('c'));
    subject.change({ deleted: ['nodes/vm-b/instances/orders/b', 'nodes/vm-x/instances/y/z'] });
    assert.deepEqual(subject.removed, ['nodes/vm-b/instances/orders/b']);
    subject.change({ put: [put.instance('c')], reset: true });
    assert.deepEqual(subject.removed.slice(1), ['nodes/vm-a/instances/orders/a']);
    assert.deepEqual(subject.usable('orders'), ['c']);
    assert.equal(subject.tables.revision, 3);
  });

  it('is removed only once the tables without it are in force', () => {
    const subject = new Subject(put.instance('a'), put.instance('b'));
    const seen: unknown[] = [];
    subject.tables.onEndpointRemoved(() => {
      seen.push(subject.usable('orders'), subject.tables.revision);
    });
    subject.change({ deleted: ['nodes/vm-a/instances/orders/a'] });
    assert.deepEqual(seen, [['b'], 2]);
  });

  it('is not ejected any more once its own gateway finds it well again', () => {
    const subject = new Subject(put.instance('a'), put.instance('b'));
    const endpoint = subject.endpoint('a');
    for (let i = 0; i < 5; i++) endpoint.standing.finished(0, 0, '5xx');
    assert.ok(endpoint.standing.isEjected);
    subject.change({ put: [put.instance('a', { health: 'failing' })] });
    subject.change({ put: [put.instance('a')] });
    assert.ok(endpoint.standing.isIn);
  });

  it('counts for the cap only while it takes requests', () => {
    const subject = new Subject(...['a', 'b', 'c', 'd'].map((id) => put.instance(id)));
    const eject = (id: string) => {
      const { standing } = subject.endpoint(id);
      for (let i = 0; i < 5; i++) standing.finished(0, 0, '5xx');
      return standing.isEjected;
    };
    subject.change({
      put: [put.instance('d', { health: 'failing' })],
      deleted: ['nodes/vm-c/instances/orders/c'],
    });
    assert.deepEqual([eject('a'), eject('b')], [true, false]);
    subject.change({ put: [put.instance('d'), put.instance('c')] });
    assert.equal(eject('b'), true);
  });
});

describe('settings of a service', () => {
  it('its own, then the mesh’s, then the defaults', () => {
    const subject = new Subject(put.instance('a'));
    const settings = () => {
      const { timeoutMs, connectTimeoutMs, idleTimeoutMs, retryAttempts, outlier } =
        subject.tables.service('orders')!;
      return [timeoutMs, connectTimeoutMs, idleTimeoutMs, retryAttempts, outlier.consecutive];
    };
    assert.deepEqual(settings(), [15_000, 2_000, 300_000, 1, 5]);
    const shared = {
      timeoutMs: 9_000,
      retry: { attempts: 2 },
      outlierDetection: { consecutive: 9 },
    };
    subject.change({ put: [put.mesh(shared)] });
    assert.deepEqual(settings(), [9_000, 2_000, 300_000, 2, 9]);
    const own = { timeoutMs: 3_000, retry: { attempts: 0 }, outlierDetection: { consecutive: 0 } };
    subject.change({ put: [put.service('orders', own)] });
    assert.deepEqual(settings(), [3_000, 2_000, 300_000, 0, 0]);
    subject.change({ deleted: ['config/services/orders', 'config/mesh'] });
    assert.deepEqual(settings(), [15_000, 2_000, 300_000, 1, 5]);
  });

  it('are in force for endpoints that are already there', () => {
    const subject = new Subject(put.instance('a'), put.instance('b'));
    const { standing } = subject.endpoint('a');
    subject.change({ put: [put.service('orders', { outlierDetection: { consecutive: 1 } })] });
    standing.finished(0, 0, '5xx');
    assert.ok(standing.isEjected);
  });
});

describe('authorise', () => {
  it('by the destination’s own intention, else the one for *, else the mesh', () => {
    const subject = new Subject(put.instance('a'), put.mesh({}, 'deny'));
    assert.equal(subject.decides('orders'), false);
    subject.change({ put: [put.intention('*', { allow: [{ from: 'web', methods: [] }] })] });
    assert.equal(subject.decides('orders'), true);
    assert.equal(subject.decides('orders', 'cron'), false);
    subject.change({ put: [put.intention('orders', { allow: [{ from: 'cron', methods: [] }] })] });
    assert.equal(subject.decides('orders'), false);
    assert.equal(subject.decides('orders', 'cron'), true);
    subject.change({ deleted: ['config/intentions/orders', 'config/intentions/*'] });
    subject.change({ put: [put.mesh({}, 'allow')] });
    assert.equal(subject.decides('orders'), true);
  });
});
