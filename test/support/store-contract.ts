import assert from 'node:assert/strict';
import { afterEach, beforeEach, it } from 'node:test';
import type { Store, StoreEvent, Watcher } from '../../registry/store/store.ts';
import { eventually } from './eventually.ts';

export interface StoreUnderTest {
  readonly store: Store;
  /** Forgets the revisions before the given one. */
  compact(revision: number): Promise<void>;
  /** After `store.close()`. */
  cleanUp(): Promise<void>;
}

/** What every store does, run inside a `describe` of its own. Each test gets an empty store. */
export function storeContract(open: () => Promise<StoreUnderTest>): void {
  let opened: StoreUnderTest;
  let store: Store;

  beforeEach(async () => {
    opened = await open();
    store = opened.store;
  });
  afterEach(async () => {
    await store.close();
    await opened.cleanUp();
  });

  it('reads what was put, with its revisions and version', async () => {
    const first = await store.put('config/routes/shop', '{"to":"web"}');
    const second = await store.put('config/routes/shop', '{"to":"ünï"}');
    assert.equal(second.revision, first.revision + 1);
    assert.deepEqual(await store.get('config/routes/shop'), {
      key: 'config/routes/shop',
      value: '{"to":"ünï"}',
      createRevision: first.revision,
      modRevision: second.revision,
      version: 2,
      lease: undefined,
    });
    assert.equal(await store.get('config/routes/sho'), undefined);
  });

  it('lists a prefix in key order at one revision', async () => {
    for (const key of ['b/2', 'a/1', 'b/10', 'b', 'c/1']) await store.put(key, key);
    const last = await store.put('b/1', 'b/1');
    const { revision, entries, clusterId } = await store.range('b/');
    assert.deepEqual(
      entries.map((entry) => entry.key),
      ['b/1', 'b/10', 'b/2'],
    );
    assert.equal(revision, last.revision);
    assert.equal((await store.range('')).clusterId, clusterId);
    assert.equal((await store.range('')).entries.length, 6);
    assert.deepEqual((await store.range('nothing/')).entries, []);
  });

  it('lists more keys than fit into one page', async () => {
    const key = (n: number) => `many/${String(n).padStart(4, '0')}`;
    for (let n = 0; n < 2_500; n += 100) {
      const puts = Array.from({ length: 100 }, (_, i) => put(key(n + i)));
      await store.txn({ compare: [], success: puts });
    }
    const { entries } = await store.range('many/');
    assert.deepEqual(
      entries.map((entry) => entry.key),
      Array.from({ length: 2_500 }, (_, n) => key(n)),
    );
  });

  it('says whether a delete found anything, and only then uses a revision', async () => {
    const { revision } = await store.put('a', '1');
    assert.deepEqual(await store.delete('b'), { revision, deleted: false });
    assert.deepEqual(await store.delete('a'), { revision: revision + 1, deleted: true });
    assert.equal(await store.get('a'), undefined);
  });

  it('starts a deleted key again at version 1', async () => {
    await store.put('a', '1');
    await store.delete('a');
    const { revision } = await store.put('a', '2');
    const entry = await store.get('a');
    assert.equal(entry?.version, 1);
    assert.equal(entry?.createRevision, revision);
  });

  it('runs a transaction as one revision', async () => {
    const { revision } = await store.put('a', '1');
    const result = await store.txn({
      compare: [{ key: 'a', target: 'value', op: '==', value: '1' }],
      success: [put('b'), { type: 'delete', key: 'a' }, { type: 'get', key: 'b' }],
    });
    assert.equal(result.succeeded, true);
    assert.equal(result.revision, revision + 1);
    assert.equal(result.gets[0]?.value, 'b');
    assert.equal((await store.get('b'))?.modRevision, revision + 1);
    assert.equal(await store.get('a'), undefined);
  });

  it('runs the other side when a comparison does not hold', async () => {
    const { revision } = await store.put('a', '1');
    const result = await store.txn({
      compare: [{ key: 'a', target: 'version', op: '>', value: 1 }],
      success: [put('b')],
      failure: [
        { type: 'get', key: 'a' },
        { type: 'get', key: 'b' },
      ],
    });
    assert.equal(result.succeeded, false);
    assert.equal(result.revision, revision);
    assert.deepEqual(
      result.gets.map((entry) => entry?.value),
      ['1', undefined],
    );
  });

  it('compares versions, revisions and values', async () => {
    await store.put('a', '1');
    const { revision } = await store.put('a', '2');
    const holds = async (compare: Parameters<Store['txn']>[0]['compare'][number]) =>
      (await store.txn({ compare: [compare], success: [] })).succeeded;

    assert.equal(await holds({ key: 'a', target: 'version', op: '==', value: 2 }), true);
    assert.equal(await holds({ key: 'a', target: 'version', op: '>', value: 1 }), true);
    assert.equal(await holds({ key: 'a', target: 'version', op: '>', value: 2 }), false);
    assert.equal(await holds({ key: 'none', target: 'version', op: '==', value: 0 }), true);
    assert.equal(await holds({ key: 'none', target: 'version', op: '>', value: 0 }), false);
    assert.equal(await holds({ key: 'a', target: 'modRevision', op: '==', value: revision }), true);
    assert.equal(await holds({ key: 'a', target: 'modRevision', op: '>', value: revision }), false);
    assert.equal(await holds({ key: 'none', target: 'modRevision', op: '==', value: 0 }), true);
    assert.equal(await holds({ key: 'a', target: 'value', op: '==', value: '2' }), true);
    assert.equal(await holds({ key: 'a', target: 'value', op: '==', value: '1' }), false);
    assert.equal(await holds({ key: 'none', target: 'value', op: '==', value: '' }), false);
  });

  it('refuses a transaction that writes a key twice, and one that is too large', async () => {
    await assert.rejects(store.txn({ compare: [], success: [put('a'), put('a')] }), {
      code: 'store_refused',
      message: 'a transaction writes the key a twice',
    });
    const success = Array.from({ length: 129 }, (_, n) => put(`a/${n}`));
    await assert.rejects(store.txn({ compare: [], success }), {
      code: 'store_refused',
      message: 'a transaction has 129 operations; at most 128 fit into one: split it',
    });
    assert.deepEqual((await store.range('')).entries, []);
  });

  it('lets exactly one of two racing creators win', async () => {
    const create = (value: string) =>
      store.txn({
        compare: [{ key: 'token', target: 'version', op: '==', value: 0 }],
        success: [{ type: 'put', key: 'token', value }],
      });
    const results = await Promise.all(['a', 'b', 'c', 'd'].map(create));
    assert.equal(results.filter((result) => result.succeeded).length, 1);
  });

  it('replays from a past revision, whole revisions in order', async () => {
    const { revision } = await store.range('');
    await store.put('a/1', 'x');
    await store.txn({ compare: [], success: [put('a/2'), put('b/1'), put('a/3')] });
    await store.delete('a/1');
    const heard = watch('a/', revision + 1);
    await eventually(() => assert.equal(heard.events.length, 4));
    assert.deepEqual(heard.events.map(short), [
      `put a/1 ${revision + 1}`,
      `put a/2 ${revision + 2}`,
      `put a/3 ${revision + 2}`,
      `delete a/1 ${revision + 3}`,
    ]);
  });

  it('hears of changes as they come, and not of other keys', async () => {
    const { revision } = await store.range('');
    const heard = watch('a/', revision + 1);
    await store.put('b/1', 'other');
    await store.put('a/1', 'mine');
    await eventually(() => assert.equal(heard.events.length, 1));
    await store.put('a/1', 'mine again');
    await eventually(() => assert.equal(heard.events.length, 2));
    const [, second] = heard.events;
    assert.equal(second?.type === 'put' && second.entry.value, 'mine again');
    assert.equal(second?.type === 'put' && second.entry.version, 2);
  });

  it('never splits a revision between two calls', async () => {
    const { revision } = await store.range('');
    const heard = watch('', revision + 1);
    const keys = Array.from({ length: 100 }, (_, n) => `k/${n}`);
    for (let round = 0; round < 20; round++) {
      await store.txn({ compare: [], success: keys.map(put) });
    }
    await eventually(() => assert.equal(heard.events.length, 2_000));
    for (const [through, events] of heard.calls) {
      const counts = Map.groupBy(events, revisionOf);
      for (const group of counts.values()) assert.equal(group.length, 100);
      assert.equal(revisionOf(events.at(-1)!), through);
    }
  });

  it('says nothing more after a watch was cancelled', async () => {
    const { revision } = await store.range('');
    const cancelled = watch('', revision + 1);
    const other = watch('', revision + 1);
    cancelled.cancel();
    await store.put('a', '1');
    await eventually(() => assert.equal(other.events.length, 1));
    assert.deepEqual(cancelled.events, []);
    assert.deepEqual(cancelled.lost, []);
  });

  it('loses a watch that begins before the compacted revision, once', async () => {
    const { revision } = await store.range('');
    for (let n = 0; n < 10; n++) await store.put('a', String(n));
    await opened.compact(revision + 8);
    const heard = watch('', revision + 2);
    await eventually(() => assert.equal(heard.lost.length, 1));
    assert.match(heard.lost[0]!, /^compacted: revisions/);
    await store.put('a', 'later');
    const after = watch('', (await store.range('')).revision + 1);
    await store.put('b', 'last');
    await eventually(() => assert.equal(after.events.length, 1));
    assert.deepEqual([heard.lost.length, heard.events], [1, []]);
  });

  it('tells a quiet watch that it is current', { timeout: 20_000 }, async () => {
    const { revision } = await store.put('a', '1');
    const heard = watch('', revision + 1);
    await eventually(() => assert.ok(heard.progress.length > 0), 10_000);
    assert.deepEqual(heard.progress, [revision]);
  });

  it('deletes the keys of a lease that expires, seen by a watch as one revision', async () => {
    const { revision } = await store.range('');
    const heard = watch('', revision + 1);
    const lease = await store.grant(1);
    await store.put('nodes/vm-a', '1', lease);
    await store.put('nodes/vm-a/instances/web/1', '2', lease);
    await store.put('config/mesh', '{}');
    assert.equal((await store.get('nodes/vm-a'))?.lease, lease);

    await eventually(() => assert.equal(heard.events.length, 5), 8_000);
    const deletes = heard.events.slice(3);
    assert.deepEqual(deletes.map(short).sort(), [
      `delete nodes/vm-a ${revision + 4}`,
      `delete nodes/vm-a/instances/web/1 ${revision + 4}`,
    ]);
    assert.equal(await store.get('nodes/vm-a'), undefined);
    assert.notEqual(await store.get('config/mesh'), undefined);
    await assert.rejects(store.keepAlive(lease), { code: 'lease_lost' });
    await assert.rejects(store.put('nodes/vm-a', '1', lease), { code: 'lease_lost' });
  });

  it('keeps a lease that is kept alive', async () => {
    const [kept, left] = [await store.grant(2), await store.grant(2)];
    await store.put('kept', '1', kept);
    await store.put('left', '1', left);
    await eventually(async () => {
      assert.equal(await store.keepAlive(kept), 2);
      assert.equal(await store.get('left'), undefined);
    }, 10_000);
    assert.equal((await store.get('kept'))?.version, 1);
  });

  it('revokes a lease with its keys, twice without complaint', async () => {
    const lease = await store.grant(30);
    await store.put('a', '1', lease);
    await store.put('b', '1', lease);
    await store.put('b', 'taken off the lease');
    await store.revoke(lease);
    assert.deepEqual(
      (await store.range('')).entries.map((entry) => entry.key),
      ['b'],
    );
    await store.revoke(lease);
    await assert.rejects(store.keepAlive(lease), { code: 'lease_lost' });
  });

  it('is silent after close', async () => {
    const { revision } = await store.range('');
    const heard = watch('', revision + 1);
    await store.close();
    await assert.rejects(store.get('a'), { code: 'store_closed' });
    assert.deepEqual(heard, { ...heard, events: [], lost: [], progress: [] });
  });

  function watch(prefix: string, fromRevision: number): Heard {
    const heard = { calls: [], events: [], progress: [], lost: [], cancel: () => {} } as Heard;
    const watcher: Watcher = {
      onEvents(revision, events) {
        heard.calls.push([revision, events]);
        heard.events.push(...events);
      },
      onProgress: (revision) => void heard.progress.push(revision),
      onLost: (reason) => void heard.lost.push(reason),
    };
    heard.cancel = store.watch(prefix, fromRevision, watcher);
    return heard;
  }
}

interface Heard {
  readonly calls: [revision: number, events: readonly StoreEvent[]][];
  readonly events: StoreEvent[];
  readonly progress: number[];
  readonly lost: string[];
  cancel: () => void;
}

function put(key: string) {
  return { type: 'put', key, value: key } as const;
}

function revisionOf(event: StoreEvent): number {
  return event.type === 'put' ? event.entry.modRevision : event.modRevision;
}

/** `put a/1 7` */
function short(event: StoreEvent): string {
  return `${event.type} ${event.key} ${revisionOf(event)}`;
}
