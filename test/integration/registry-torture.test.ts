import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { systemClock } from '../../registry/kit/clock.ts';
import { createLog } from '../../registry/kit/log.ts';
import { seededRng, type Rng } from '../../registry/kit/rng.ts';
import { openEtcdStore } from '../../registry/store/etcd.ts';
import { RegistryView } from '../../registry/view.ts';
import type { RegistryChange } from '../../registry/view-types.ts';
import { startEtcd, type TestEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { startFaultProxy, type FaultProxy, type Faults } from '../support/fault-proxy.ts';

const log = createLog({ level: 'silent' });
const RECOVER_MS = 5_000;
const FAULTY_MS = 3_000;
const KEYS = 60;

/**
 * A random writer, a proxy that harms the connection, compactions, and an etcd that is frozen or killed.
 * Whatever happened, soon after the last fault the documents are those of the registry, and no revision
 * was applied after a later one.
 */
describe('view over a tortured etcd', () => {
  let etcd: TestEtcd;
  before(async () => {
    etcd = await startEtcd();
  });
  after(() => etcd.stop());

  for (const seed of [1, 2, 3, 4]) {
    it(`converges, seed ${seed}`, { timeout: 30_000 }, async (t) => {
      const rng = seededRng(seed);
      const proxy = await startFaultProxy(etcd.port);
      const direct = await openEtcdStore({ ...storeOptions(seed), endpoints: etcd.endpoints });
      const endpoints = [`http://${proxy.address}`];
      const store = await openEtcdStore({ ...storeOptions(seed), endpoints });
      const clock = systemClock;
      const view = new RegistryView({ store, clock, rng, log, classify, parse, checkReferences });
      t.after(async () => {
        view.stop();
        await Promise.all([store.close(), direct.close()]);
        await proxy.close();
      });

      const mirror = new Map<string, string>();
      let last = 0;
      view.onChange((change) => {
        assert.ok(change.revision >= last, `revision ${change.revision} after ${last}`);
        last = change.revision;
        applyTo(mirror, change);
      });
      view.start();

      const until = performance.now() + FAULTY_MS;
      const written = write(direct, rng, () => performance.now() < until);
      await harm(proxy, etcd, rng, () => performance.now() < until);
      proxy.set({});
      const healedAt = performance.now();
      const writes = await written;

      await eventually(async () => {
        assert.deepEqual(sorted(mirror), await registryOf(etcd, seed));
        assert.equal(view.state.connected, true);
      }, RECOVER_MS);
      t.diagnostic(
        `${writes} writes; equal ${Math.round(performance.now() - healedAt)} ms after the last fault`,
      );
      assert.ok(writes > 50);
      assert.deepEqual(view.state.rejected, []);
    });
  }
});

function storeOptions(seed: number) {
  return { prefix: prefixOf(seed), log };
}

function prefixOf(seed: number): string {
  return `/torture-${seed}/v1`;
}

/** Puts, deletes and transactions over a small set of keys, as fast as etcd takes them. */
async function write(
  store: Awaited<ReturnType<typeof openEtcdStore>>,
  rng: Rng,
  goOn: () => boolean,
): Promise<number> {
  const key = () => `config/services/s${Math.floor(rng() * KEYS)}`;
  let writes = 0;
  while (goOn()) {
    try {
      const draw = rng();
      if (draw < 0.6) await store.put(key(), String(writes));
      else if (draw < 0.8) await store.delete(key());
      else {
        const keys = new Set([key(), key(), key(), key()]);
        const value = String(writes);
        const success = [...keys].map((each) => ({ type: 'put', key: each, value }) as const);
        await store.txn({ compare: [], success });
      }
      writes++;
    } catch {
      // etcd is frozen or restarts: that is the point of it.
    }
  }
  return writes;
}

async function harm(proxy: FaultProxy, etcd: TestEtcd, rng: Rng, goOn: () => boolean) {
  const faults: readonly Faults[] = [
    { stall: 'both' },
    { stall: 'up' },
    { stall: 'down' },
    { refuse: true },
    { delayMs: 30 },
    { truncateAfter: 700 },
    { truncateAfter: 5_000 },
  ];
  while (goOn()) {
    await pause(50 + rng() * 250);
    const draw = rng();
    if (draw < 0.25) proxy.cut();
    else if (draw < 0.4) proxy.reset();
    else if (draw < 0.5) await compact(etcd);
    else if (draw < 0.6) {
      etcd.pause();
      await pause(100 + rng() * 900);
      etcd.resume();
    } else if (draw < 0.65) await etcd.restart();
    else if (draw < 0.75) proxy.set({});
    else proxy.set(faults[Math.floor(rng() * faults.length)]!);
  }
}

async function compact(etcd: TestEtcd): Promise<void> {
  const [status] = JSON.parse(await etcd.etcdctl('endpoint', 'status', '-w', 'json')) as [
    { Status: { header: { revision: number } } },
  ];
  // Compacted up to here already when nothing was written in between.
  await etcd.etcdctl('compaction', String(status.Status.header.revision)).catch(() => {});
}

/** What the operator's own tool says. */
async function registryOf(etcd: TestEtcd, seed: number): Promise<Record<string, string>> {
  const prefix = `${prefixOf(seed)}/`;
  const out = await etcd.etcdctl('get', '--prefix', prefix, '-w', 'json');
  const { kvs = [] } = JSON.parse(out) as { kvs?: { key: string; value: string }[] };
  const text = (base64: string) => Buffer.from(base64, 'base64').toString();
  return sorted(
    new Map(kvs.map(({ key, value }) => [text(key).slice(prefix.length), text(value)])),
  );
}

function applyTo(mirror: Map<string, string>, { reset, put, deleted }: RegistryChange): void {
  if (reset) mirror.clear();
  for (const key of deleted) mirror.delete(key);
  for (const [key, { document }] of put) mirror.set(key, textOf(document));
}

function sorted(map: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Documents of this test are services whose name is their text. */
function parse(_key: string, text: string) {
  return { ok: true, typed: { kind: 'services', document: { name: text, subsets: {} } } } as const;
}

function textOf(document: object): string {
  return (document as { readonly name: string }).name;
}

function classify() {
  return { kind: 'services' };
}

function checkReferences() {
  return [];
}

/** How long a fault lasts; not a wait for something to happen. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
