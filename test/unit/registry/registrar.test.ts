import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { MeshError } from '../../../registry/kit/errors.ts';
import type { Log } from '../../../registry/kit/log.ts';
import { seededRng } from '../../../registry/kit/rng.ts';
import { Registrar } from '../../../registry/registrar.ts';
import { openEmbeddedStore } from '../../../registry/store/embedded.ts';
import type { Store } from '../../../registry/store/store.ts';
import { fakeClock, type FakeClock } from '../../support/fake-clock.ts';

const NODE = 'nodes/vm-a';
const INSTANCE = 'nodes/vm-a/instances/web/1';
const node = (address: string) => JSON.stringify({ address });

describe('Registrar', () => {
  let clock: FakeClock;
  let store: Store;
  /** Stands between the registrar and the store. */
  let away: boolean;
  let writes: number;
  let lines: string[];
  const registrars: Registrar[] = [];

  beforeEach(async () => {
    clock = fakeClock();
    away = false;
    writes = 0;
    lines = [];
    store = await openEmbeddedStore({ file: ':memory:', clock, log: logInto([]) });
  });
  afterEach(async () => {
    for (const registrar of registrars.splice(0)) await registrar.stop({ revoke: false });
    await store.close();
  });

  function start(address = '10.0.0.1:15443'): Registrar {
    const registrar = new Registrar({
      store: fragile(),
      clock,
      rng: seededRng(7),
      log: logInto(lines),
      nodeKey: NODE,
      address,
    });
    registrars.push(registrar);
    registrar.set(NODE, node(address));
    return registrar;
  }

  function fragile(): Store {
    const guard = <A extends unknown[], R>(work: (...args: A) => Promise<R>) => {
      return async (...args: A): Promise<R> => {
        if (away) throw new MeshError('store_unreachable', `away at ${clock.now()}`);
        return work(...args);
      };
    };
    return {
      name: 'test store',
      range: guard((prefix) => store.range(prefix)),
      get: guard((key) => store.get(key)),
      put: guard((...args) => store.put(...args)),
      delete: guard((key) => store.delete(key)),
      txn: guard(async (txn) => {
        if (txn.success.some(({ type }) => type !== 'get')) writes++;
        return store.txn(txn);
      }),
      watch: (...args) => store.watch(...args),
      grant: guard((seconds) => store.grant(seconds)),
      keepAlive: guard((lease) => store.keepAlive(lease)),
      revoke: guard((lease) => store.revoke(lease)),
      close: () => store.close(),
    };
  }

  const keys = async () => (await store.range('')).entries.map(({ key }) => key);

  it('registers everything under one lease', async () => {
    const registrar = start();
    registrar.set(INSTANCE, '{}');
    registrar.set('status/vm-a', '{}');
    await clock.advanceAsync(1_000);
    const { entries } = await store.range('');
    assert.deepEqual(
      entries.map(({ key, lease }) => [key, lease]),
      [NODE, INSTANCE, 'status/vm-a'].map((key) => [key, registrar.state.lease]),
    );
    assert.equal(registrar.state.connected, true);
    assert.deepEqual(lines, ['registered']);
  });

  it('keeps its keys for hours without writing them again', async () => {
    const registrar = start();
    await clock.advanceAsync(3_600_000);
    const entry = await store.get(NODE);
    assert.deepEqual([entry?.version, entry?.lease], [1, registrar.state.lease]);
  });

  it('writes changes only, together, and deletes', async () => {
    const registrar = start();
    registrar.set(INSTANCE, '{"health":"unknown"}');
    await clock.advanceAsync(1_000);
    const before = { writes, revision: (await store.range('')).revision };
    registrar.set(INSTANCE, '{"health":"failing"}');
    registrar.set(INSTANCE, '{"health":"passing"}');
    registrar.set('status/vm-a', '{}');
    registrar.set(NODE, node('10.0.0.1:15443'));
    await clock.advanceAsync(1_000);
    assert.equal(writes, before.writes + 1);
    assert.equal((await store.range('')).revision, before.revision + 1);
    assert.equal((await store.get(INSTANCE))?.value, '{"health":"passing"}');
    registrar.set(INSTANCE, undefined);
    await clock.advanceAsync(1_000);
    assert.deepEqual(await keys(), [NODE, 'status/vm-a']);
  });

  it('writes a stream of changes all the same', async () => {
    const registrar = start();
    await clock.advanceAsync(1_000);
    for (let n = 0; n < 100; n++) {
      registrar.set(INSTANCE, String(n));
      await clock.advanceAsync(10);
    }
    assert.ok(Number((await store.get(INSTANCE))?.value) > 90);
  });

  it('registers more keys than fit into one transaction', async () => {
    const registrar = start();
    for (let n = 0; n < 300; n++) registrar.set(`nodes/vm-a/instances/web/${n}`, '{}');
    await clock.advanceAsync(1_000);
    assert.equal((await keys()).length, 301);
  });

  it('registers again when its lease was revoked', async () => {
    const registrar = start();
    registrar.set(INSTANCE, '{}');
    await clock.advanceAsync(1_000);
    const { lease } = registrar.state;
    await store.revoke(lease!);
    assert.deepEqual(await keys(), []);
    await clock.advanceAsync(16_000);
    assert.deepEqual(await keys(), [NODE, INSTANCE]);
    assert.notEqual(registrar.state.lease, lease);
    assert.deepEqual(lines, [
      'registered',
      'not registered; trying until it works (lease_lost)',
      'registered',
    ]);
  });

  it('registers again, with what changed meanwhile, after the store was away for long', async () => {
    const registrar = start();
    registrar.set(INSTANCE, '1');
    registrar.set('nodes/vm-a/instances/web/2', '{}');
    await clock.advanceAsync(1_000);
    away = true;
    await clock.advanceAsync(600_000);
    assert.deepEqual(await keys(), []);
    assert.equal(registrar.state.connected, false);
    registrar.set(INSTANCE, '2');
    registrar.set('nodes/vm-a/instances/web/2', undefined);
    away = false;
    await clock.advanceAsync(10_000);
    assert.deepEqual(await keys(), [NODE, INSTANCE]);
    assert.equal((await store.get(INSTANCE))?.value, '2');
    // Ten minutes of failing are one line.
    assert.deepEqual(lines, [
      'registered',
      'not registered; trying until it works (store_unreachable)',
      'registered',
    ]);
  });

  it('rides out a short absence on the same lease', async () => {
    const registrar = start();
    await clock.advanceAsync(1_000);
    const { lease } = registrar.state;
    away = true;
    await clock.advanceAsync(11_000);
    away = false;
    await clock.advanceAsync(5_000);
    assert.deepEqual([registrar.state.lease, registrar.state.connected], [lease, true]);
    assert.equal((await store.get(NODE))?.version, 1);
  });

  it('puts back what others delete or change', async () => {
    const registrar = start();
    registrar.set(INSTANCE, '{}');
    await clock.advanceAsync(1_000);
    await store.delete(INSTANCE);
    await clock.advanceAsync(20_000);
    assert.deepEqual(await keys(), [NODE, INSTANCE]);
    await store.put(INSTANCE, 'tampered');
    await store.delete(NODE);
    await clock.advanceAsync(30_000);
    assert.equal((await store.get(INSTANCE))?.value, '{}');
    assert.equal((await store.get(INSTANCE))?.lease, registrar.state.lease);
    assert.equal((await store.get(NODE))?.lease, registrar.state.lease);
  });

  it('takes over from its own last run', async () => {
    const lastRun = await store.grant(15);
    await store.put(NODE, node('10.0.0.1:15443'), lastRun);
    await store.put('nodes/vm-a/instances/old/1', '{}', lastRun);
    const registrar = start();
    await clock.advanceAsync(1_000);
    assert.equal((await store.get(NODE))?.lease, registrar.state.lease);
    await clock.advanceAsync(20_000);
    assert.deepEqual(await keys(), [NODE]);
  });

  it('leaves a node that is another gateway alone until that one is gone', async () => {
    const first = start('10.0.0.1:15443');
    await clock.advanceAsync(1_000);
    const second = start('10.0.0.2:15443');
    second.set(INSTANCE, '{}');
    await clock.advanceAsync(120_000);
    assert.deepEqual([first.state.connected, second.state.connected], [true, false]);
    assert.deepEqual(await keys(), [NODE]);
    assert.equal((await store.get(NODE))?.value, node('10.0.0.1:15443'));
    assert.deepEqual(lines, ['registered', 'not registered; trying until it works (node_taken)']);
    await first.stop({ revoke: false });
    await clock.advanceAsync(30_000);
    assert.equal((await store.get(NODE))?.value, node('10.0.0.2:15443'));
    assert.deepEqual(await keys(), [NODE, INSTANCE]);
  });

  it('deregisters on stop, or leaves the lease to end', async () => {
    const leaving = start();
    await clock.advanceAsync(1_000);
    await leaving.stop({ revoke: true });
    assert.deepEqual(await keys(), []);
    leaving.set(INSTANCE, '{}');
    await clock.advanceAsync(60_000);
    assert.deepEqual(await keys(), []);
  });

  it('stops while the store is away', async () => {
    const registrar = start();
    await clock.advanceAsync(1_000);
    away = true;
    await registrar.stop({ revoke: true });
    assert.equal(lines.at(-1), 'could not deregister; the lease will end by itself');
  });
});

/** Collects messages, with the code in what was logged as a problem. */
function logInto(lines: string[]): Log {
  const write = (fields: { readonly code?: string }, message: string) => {
    lines.push(fields.code === undefined ? message : `${message} (${fields.code})`);
  };
  return { info: write, warn: write, error: write, debug: write } as unknown as Log;
}
