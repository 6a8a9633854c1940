import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createLog } from '../../registry/kit/log.ts';
import { openEmbeddedStore } from '../../registry/store/embedded.ts';
import type { Store, StoreEvent } from '../../registry/store/store.ts';
import { eventually } from '../support/eventually.ts';

const log = createLog({ level: 'silent' });
const STORE = new URL('../../registry/store/embedded.ts', import.meta.url).href;
const LOG = new URL('../../registry/kit/log.ts', import.meta.url).href;

describe('embedded store', () => {
  let folder: string;
  let file: string;
  const children: ChildProcess[] = [];
  const stores: Store[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatemesh-embedded-'));
    file = join(folder, 'registry.db');
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    for (const store of stores.splice(0)) await store.close();
    await rm(folder, { recursive: true });
  });

  async function open(options: { readonly keepRevisions?: number } = {}): Promise<Store> {
    const store = await openEmbeddedStore({ file, log, ...options });
    stores.push(store);
    return store;
  }

  /** Another process that has `store` open on the same file and runs `code`. */
  function run(code: string): ChildProcess {
    const script = `
      const { openEmbeddedStore } = await import(${JSON.stringify(STORE)});
      const { createLog } = await import(${JSON.stringify(LOG)});
      const file = ${JSON.stringify(file)};
      const store = await openEmbeddedStore({ file, log: createLog({ level: 'silent' }) });
      ${code}`;
    const args = ['--input-type=module', '-e', script];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    return child;
  }

  it('shows a process what others write, soon', async () => {
    const store = await open();
    const events: StoreEvent[] = [];
    const { revision } = await store.range('');
    store.watch('', revision + 1, {
      onEvents: (_, more) => void events.push(...more),
      onProgress() {},
      onLost: assert.fail,
    });
    const child = run(`await store.put('a', '1'); await store.put('a', '2'); await store.close();`);
    const [code] = (await once(child, 'exit')) as [number];
    assert.equal(code, 0);
    await eventually(() => assert.equal(events.length, 2), 1_000);
    assert.deepEqual(
      events.map((event) => event.type === 'put' && event.entry.value),
      ['1', '2'],
    );
  });

  it('is opened and written by several processes at once', async () => {
    const add = `
      for (let n = 0; n < 50; n++) {
        for (;;) {
          const entry = await store.get('sum');
          const result = await store.txn({
            compare: [{ key: 'sum', target: 'modRevision', op: '==', value: entry?.modRevision ?? 0 }],
            success: [{ type: 'put', key: 'sum', value: String(Number(entry?.value ?? 0) + 1) }],
          });
          if (result.succeeded) break;
        }
      }
      await store.close();`;
    const codes = await Promise.all(
      [run(add), run(add), run(add)].map(async (child) => (await once(child, 'exit'))[0]),
    );
    assert.deepEqual(codes, [0, 0, 0]);
    const store = await open();
    const sum = await store.get('sum');
    assert.deepEqual([sum?.value, sum?.version], ['150', 150]);
  });

  it('ends the lease of a process that was killed', async () => {
    const store = await open();
    const child = run(`
      const lease = await store.grant(1);
      await store.put('nodes/vm-a', '{}', lease);
      setInterval(() => store.keepAlive(lease), 300);`);
    await eventually(async () => assert.ok(await store.get('nodes/vm-a')));
    // Alive for longer than its time to live.
    const seen = performance.now();
    await eventually(async () => {
      assert.ok(await store.get('nodes/vm-a'));
      assert.ok(performance.now() - seen > 1_500);
    });
    child.kill('SIGKILL');
    await eventually(async () => assert.equal(await store.get('nodes/vm-a'), undefined), 3_000);
  });

  it('keeps everything when it is opened again, and goes on counting', async () => {
    const first = await open();
    const { revision } = await first.put('a', '1');
    const { clusterId } = await first.range('');
    await first.close();
    const second = await open();
    const list = await second.range('');
    assert.deepEqual([list.revision, list.clusterId], [revision, clusterId]);
    assert.equal((await second.put('a', '2')).revision, revision + 1);
  });

  it('forgets old revisions by itself', async () => {
    const store = await open({ keepRevisions: 100 });
    for (let n = 0; n < 120; n++) await store.put('a', String(n));
    const lost: string[] = [];
    store.watch('', 2, {
      onEvents() {},
      onProgress() {},
      onLost: (reason) => void lost.push(reason),
    });
    await eventually(() => assert.equal(lost.length, 1));
    assert.match(lost[0]!, /^compacted: revisions up to \d+ are gone$/);
  });

  it('lets the process end by itself, closed or not', async () => {
    const watching = `
      await store.put('a', '1', await store.grant(5));
      store.watch('', 1, { onEvents() {}, onProgress() {}, onLost() {} });`;
    for (const code of [watching, `${watching} await store.close();`]) {
      const [exit] = (await once(run(code), 'exit')) as [number];
      assert.equal(exit, 0);
    }
  });

  it('says what is wrong with a file it cannot use', async () => {
    await writeFile(file, 'this is no database, however long it may be'.repeat(50));
    await assert.rejects(openEmbeddedStore({ file, log }), {
      code: 'store_unreachable',
      exitCode: 69,
      message:
        `cannot use the registry file ${file}: file is not a database; ` +
        'its folder must exist and this user must be able to write both',
    });
    const nowhere = join(folder, 'no', 'registry.db');
    await assert.rejects(openEmbeddedStore({ file: nowhere, log }), {
      message: /unable to open database file/,
    });
  });
});
