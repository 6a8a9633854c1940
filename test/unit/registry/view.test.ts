import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { MeshError } from '../../../registry/kit/errors.ts';
import { createLog } from '../../../registry/kit/log.ts';
import { seededRng } from '../../../registry/kit/rng.ts';
import type {
  Entry,
  RangeResult,
  Store,
  StoreEvent,
  Watcher,
} from '../../../registry/store/store.ts';
import type { RegistryChange } from '../../../registry/view-types.ts';
import { RegistryView, type RegistryViewOptions } from '../../../registry/view.ts';
import { fakeClock, type FakeClock } from '../../support/fake-clock.ts';
import { classify, rules } from './rules.ts';

/** A registry that says what the test lets it say. */
class ScriptedRegistry {
  revision = 0;
  clusterId = 'one';
  readonly #entries = new Map<string, Entry>();
  reachable = true;
  ranges = 0;
  watcher: (Watcher & { readonly from: number }) | undefined;

  /** One revision: `key text` puts, `-key` deletes; told to the watch unless it is silent. */
  change(...changes: string[]): void {
    this.revision++;
    const events = changes.map((change): StoreEvent => {
      const modRevision = this.revision;
      if (change.startsWith('-')) {
        this.#entries.delete(change.slice(1));
        return { type: 'delete', key: change.slice(1), modRevision };
      }
      const space = change.indexOf(' ');
      const [key, value] = [change.slice(0, space), change.slice(space + 1)];
      const createRevision = modRevision;
      const entry = { key, value, createRevision, modRevision, version: 1, lease: undefined };
      this.#entries.set(key, entry);
      return { type: 'put', key, entry };
    });
    this.watcher?.onEvents(this.revision, events);
  }

  lose(reason = 'disconnected'): void {
    const { watcher } = this;
    this.watcher = undefined;
    watcher?.onLost(reason);
  }

  readonly store = {
    name: 'scripted',
    range: async (): Promise<RangeResult> => {
      this.ranges++;
      if (!this.reachable) throw new MeshError('store_unreachable', 'nobody is there');
      const { revision, clusterId } = this;
      return { revision, clusterId, entries: [...this.#entries.values()] };
    },
    watch: (_prefix: string, from: number, watcher: Watcher) => {
      this.watcher = { ...watcher, from };
      return () => (this.watcher = undefined);
    },
  } as unknown as Store;
}

describe('RegistryView', () => {
  let registry: ScriptedRegistry;
  let clock: FakeClock;
  let view: RegistryView;
  let changes: RegistryChange[];

  beforeEach(() => {
    registry = new ScriptedRegistry();
    clock = fakeClock();
  });
  afterEach(() => view.stop());

  async function start(options: Partial<RegistryViewOptions> = {}): Promise<void> {
    const log = createLog({ level: 'silent' });
    const { store } = registry;
    view = new RegistryView({
      store,
      clock,
      rng: seededRng(1),
      log,
      classify,
      ...rules,
      ...options,
    });
    changes = [];
    view.onChange((change) => changes.push(change));
    view.start();
    await clock.advanceAsync(0);
  }

  /** `7 reset +config/routes/a -nodes/x` */
  function said(): string[] {
    return changes
      .splice(0)
      .map(({ revision, reset, put, deleted }) =>
        [
          revision,
          ...(reset ? ['reset'] : []),
          ...put.map(([key]) => `+${key}`),
          ...deleted.map((key) => `-${key}`),
        ].join(' '),
      );
  }

  const snapshot = (...texts: string[]) => ({
    revision: 3,
    services: [],
    documents: texts.map((text) => {
      const space = text.indexOf(' ');
      return { key: text.slice(0, space), revision: 3, text: text.slice(space + 1) };
    }),
  });

  it('lists, then watches from the next revision', async () => {
    registry.change('config/services/web {}', 'status/vm-a {}', 'ca/issuers/1 {}');
    await start();
    assert.deepEqual(said(), ['1 reset +config/services/web']);
    assert.equal(registry.watcher?.from, 2);
    const { revision, source, connected, currentAt } = view.state;
    assert.deepEqual([revision, source, connected, currentAt], [1, 'registry', true, 0]);
  });

  it('applies revisions whole and one by one', async () => {
    await start();
    said();
    registry.change('config/services/web {}', 'config/routes/a {"to":"web"}');
    registry.change('-config/routes/a');
    assert.deepEqual(said(), ['1 +config/services/web +config/routes/a', '2 -config/routes/a']);
  });

  it('takes several revisions of one answer apart', async () => {
    await start();
    said();
    const { watcher } = registry;
    const entry = (key: string, value: string, modRevision: number): StoreEvent => {
      const rest = { createRevision: 1, version: 1, lease: undefined };
      return { type: 'put', key, entry: { key, value, modRevision, ...rest } };
    };
    const key = 'config/services/web';
    watcher?.onEvents(9, [
      entry(key, '{"good":1}', 7),
      entry(key, 'bad', 8),
      entry('status/x', '', 9),
    ]);
    assert.deepEqual(said(), [`7 +${key}`, '8']);
    assert.deepEqual(
      view.state.rejected.map(({ revision, using }) => [revision, using]),
      [[8, 7]],
    );
    assert.equal(view.state.revision, 9);
  });

  it('moves the revision on without a word about keys that hold no documents', async () => {
    await start();
    said();
    registry.change('status/vm-a {}');
    registry.watcher?.onProgress(5);
    assert.deepEqual(said(), []);
    assert.equal(view.state.revision, 5);
  });

  it('tells people about unknown keys under config/, and only there', async () => {
    await start();
    registry.change('config/route/a bad', 'history/routes/a/1 bad', 'other bad');
    assert.deepEqual(
      view.state.rejected.map(({ key }) => key),
      ['config/route/a'],
    );
  });

  it('starts from the snapshot and corrects it with the list', async () => {
    registry.reachable = false;
    await start({ lastGood: snapshot('config/services/web {}', 'config/services/api {}') });
    assert.deepEqual(said(), ['3 reset +config/services/web +config/services/api']);
    assert.deepEqual([view.state.source, view.state.connected], ['disk', false]);

    registry.reachable = true;
    registry.revision = 8;
    registry.change('config/services/web bad', 'config/services/new {}');
    await clock.advanceAsync(3_000);
    assert.deepEqual(said(), ['9 +config/services/new -config/services/api']);
    assert.deepEqual([view.state.source, view.state.connected], ['registry', true]);
    // The bad text keeps the version of the snapshot in force.
    assert.equal(view.state.rejected[0]?.using, 3);
    assert.ok(view.state.documents.has('config/services/web'));
  });

  it('lists again after a lost watch and applies the difference only', async () => {
    registry.change('config/services/a {}', 'config/services/b {}', 'config/services/c {}');
    await start();
    said();
    const { watcher } = registry;
    registry.lose();
    assert.equal(view.state.connected, false);
    registry.change('config/services/b {"n":2}', '-config/services/c', 'config/services/d {}');
    watcher?.onEvents(99, []);
    await clock.advanceAsync(3_000);
    assert.deepEqual(said(), ['2 +config/services/b +config/services/d -config/services/c']);
    assert.deepEqual([view.state.revision, view.state.connected], [2, true]);
  });

  it('follows a registry that was restored to an older revision', async () => {
    registry.change('config/services/a {"n":2}');
    registry.revision = 100;
    await start();
    said();
    registry.lose('the revision went back from 100 to 7');
    registry.clusterId = 'two';
    registry.revision = 6;
    registry.change('config/services/a {"n":1}');
    await clock.advanceAsync(3_000);
    assert.deepEqual(said(), ['7 +config/services/a']);
    assert.deepEqual([view.state.revision, registry.watcher?.from], [7, 8]);
  });

  it('tries for ever, at most every three seconds', async () => {
    registry.reachable = false;
    await start();
    await clock.advanceAsync(300_000);
    assert.ok(registry.ranges >= 100, `${registry.ranges} attempts in 300 s`);
    assert.ok(registry.ranges < 400, `${registry.ranges} attempts in 300 s`);
    registry.reachable = true;
    await clock.advanceAsync(3_000);
    assert.equal(view.state.connected, true);
  });

  it('does nothing more once stopped', async () => {
    await start();
    said();
    const { watcher } = registry;
    view.stop();
    watcher?.onEvents(5, []);
    watcher?.onLost('late');
    await clock.advanceAsync(60_000);
    assert.deepEqual([said(), registry.ranges], [[], 1]);
  });

  it('keeps telling the others when a listener throws', async () => {
    await start();
    view.onState(() => assert.fail('a broken listener'));
    let told = 0;
    view.onState(() => told++);
    registry.change('config/services/a {}');
    assert.equal(told, 1);
    assert.equal(view.state.connected, true);
  });

  describe('holds back', () => {
    const instances = (node: string, ...ids: string[]) =>
      ids.map((id) => `nodes/${node}/instances/web/${id} {"state":"ready"}`);
    const all = [
      ...instances('a', '1', '2'),
      ...instances('b', '3', '4'),
      'config/routes/r {"to":"web"}',
    ];
    const keys = all.map((text) => text.split(' ')[0]!);

    it('an emptied registry, until it was read twice more', async () => {
      registry.change(...all);
      await start();
      said();
      registry.lose();
      registry.change(...keys.map((key) => `-${key}`), 'config/services/new {}');
      await clock.advanceAsync(200);
      assert.deepEqual(said(), ['2 +config/services/new']);
      assert.match(
        view.state.held ?? '',
        /^the registry came back without 4 of 4 instances and 1 of 1 routes; 5 documents kept, 0 of 2/,
      );
      await clock.advanceAsync(19_700);
      assert.deepEqual(said(), []);
      await clock.advanceAsync(300);
      assert.deepEqual(said(), [`2 ${keys.map((key) => `-${key}`).join(' ')}`]);
      assert.equal(view.state.held, undefined);
    });

    it('nothing of what comes back meanwhile', async () => {
      registry.change(...all);
      await start();
      said();
      registry.lose();
      registry.change(...keys.map((key) => `-${key}`));
      await clock.advanceAsync(200);
      registry.change(...all.slice(0, 2), all.at(-1)!);
      await clock.advanceAsync(10_000);
      // Half is back, so that the rest is believed to be gone.
      assert.deepEqual(said(), ['2', '3', `3 -${keys[2]} -${keys[3]}`]);
      assert.equal(view.state.held, undefined);
    });

    it('an emptied registry at the start, in favour of the snapshot', async () => {
      registry.revision = 5;
      await start({ lastGood: snapshot(...all) });
      assert.equal(view.state.documents.size, 5);
      assert.notEqual(view.state.held, undefined);
      await clock.advanceAsync(20_000);
      assert.equal(view.state.documents.size, 0);
    });

    it('keeps holding while the registry is away', async () => {
      registry.change(...all);
      await start();
      registry.lose();
      registry.change(...keys.map((key) => `-${key}`));
      await clock.advanceAsync(200);
      registry.reachable = false;
      registry.lose();
      await clock.advanceAsync(120_000);
      assert.equal(view.state.documents.size, 5);
      registry.reachable = true;
      await clock.advanceAsync(30_000);
      assert.equal(view.state.documents.size, 0);
    });

    it('instances of several nodes that expire together, for one lease life', async () => {
      registry.change(...all, 'nodes/a {}', 'nodes/b {}');
      await start();
      said();
      registry.change(`-${keys[0]}`, `-${keys[1]}`, '-nodes/a');
      assert.deepEqual(said(), [`2 -${keys[0]} -${keys[1]} -nodes/a`]);
      await clock.advanceAsync(5_000);
      registry.change(`-${keys[2]}`, `-${keys[3]}`, '-nodes/b');
      assert.deepEqual(said(), [`3 +${keys[0]} +${keys[1]} +nodes/a`]);
      assert.equal(view.state.held, '6 documents of gateways expired within 15 s; kept for 15 s');
      // One comes back; of the others each stays for one lease life.
      registry.change(all[2]!);
      said();
      await clock.advanceAsync(10_000);
      assert.deepEqual(said(), [`4 -${keys[0]} -${keys[1]} -nodes/a`]);
      await clock.advanceAsync(5_000);
      assert.deepEqual(said(), [`4 -${keys[3]} -nodes/b`]);
      assert.equal(view.state.held, undefined);
      assert.ok(view.state.documents.has(keys[2]!));
    });

    it('what expired while the registry was frozen, also the only instance of a service', async () => {
      registry.change('nodes/a {}', ...instances('a', '1'));
      await start();
      said();
      await clock.advanceAsync(20_000);
      registry.change('-nodes/a', '-nodes/a/instances/web/1');
      assert.deepEqual(said(), ['2']);
      assert.equal(view.state.held, '2 documents of gateways expired within 15 s; kept for 15 s');
      await clock.advanceAsync(14_000);
      registry.change('nodes/a {}');
      said();
      await clock.advanceAsync(1_000);
      assert.deepEqual(said(), ['3 -nodes/a/instances/web/1']);
    });

    it('what expired while the registry could not be reached', async () => {
      registry.change('nodes/a {}', ...instances('a', '1'), 'config/routes/r {"to":"web"}');
      registry.change('config/routes/s {"to":"web"}');
      await start();
      said();
      registry.reachable = false;
      registry.lose();
      await clock.advanceAsync(60_000);
      registry.change('-nodes/a', '-nodes/a/instances/web/1', '-config/routes/r');
      registry.reachable = true;
      await clock.advanceAsync(3_000);
      assert.deepEqual(said(), ['3 -config/routes/r']);
      await clock.advanceAsync(15_000);
      assert.deepEqual(said(), ['3 -nodes/a -nodes/a/instances/web/1']);
    });

    it('nothing of what expires while the registry answers as it should', async () => {
      registry.change('nodes/a {}', ...instances('a', '1'));
      await start();
      said();
      for (let i = 0; i < 5; i++) {
        await clock.advanceAsync(4_000);
        registry.watcher?.onProgress(1);
      }
      registry.change('-nodes/a', '-nodes/a/instances/web/1');
      assert.deepEqual(said(), ['2 -nodes/a -nodes/a/instances/web/1']);
    });

    it('nothing when one node goes, or when instances said goodbye', async () => {
      const more = instances('c', '5', '6', '7', '8');
      registry.change(...all, ...more);
      await start();
      said();
      registry.change(...more.map((text) => `-${text.split(' ')[0]}`));
      await clock.advanceAsync(20_000);
      registry.change(...all.slice(0, 4).map((text) => text.replace('ready', 'draining')));
      registry.change(...keys.slice(0, 4).map((key) => `-${key}`));
      assert.equal(view.state.held, undefined);
      assert.deepEqual([...view.state.documents.keys()], ['config/routes/r']);
    });
  });
});
