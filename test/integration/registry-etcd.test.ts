import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { systemClock, type Clock } from '../../registry/kit/clock.ts';
import { createLog } from '../../registry/kit/log.ts';
import { openEtcdStore, type EtcdOptions } from '../../registry/store/etcd.ts';
import type { Store } from '../../registry/store/store.ts';
import { startEtcd, type TestEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';

const log = createLog({ level: 'silent' });
const STORE = new URL('../../registry/store/etcd.ts', import.meta.url).href;
const LOG = new URL('../../registry/kit/log.ts', import.meta.url).href;
const PREFIX = '/gatemesh/v1';
/** Nothing listens there: reserved, and this machine gives it to nobody. */
const DEAD = 'http://127.0.0.1:1';

/** Opens a store that is closed after the test. */
async function open(
  t: { after(fn: () => Promise<void>): void },
  options: Partial<EtcdOptions> & Pick<EtcdOptions, 'endpoints'>,
): Promise<Store> {
  const store = await openEtcdStore({ prefix: PREFIX, log, ...options });
  t.after(() => store.close());
  return store;
}

function watch(store: Store, fromRevision: number, prefix = '') {
  const heard = { keys: [] as string[], calls: 0, lost: [] as string[], lostAt: 0 };
  store.watch(prefix, fromRevision, {
    onEvents(_revision, events) {
      heard.calls++;
      heard.keys.push(...events.map(({ key }) => key));
    },
    onProgress() {},
    onLost(reason) {
      heard.lost.push(reason);
      heard.lostAt = performance.now();
    },
  });
  return heard;
}

describe('etcd store that cannot be opened', () => {
  const cases: readonly [name: string, options: Partial<EtcdOptions>, message: string][] = [
    [
      'no endpoints',
      { endpoints: [] },
      'registry.etcd.endpoints: wanted at least one URL such as "https://10.0.0.10:2379"; got none',
    ],
    [
      'an endpoint without a scheme',
      { endpoints: ['10.0.0.10:2379'] },
      'registry.etcd.endpoints: wanted a URL such as "https://10.0.0.10:2379"; got "10.0.0.10:2379"',
    ],
    [
      'two schemes',
      { endpoints: ['https://a:2379', 'http://b:2379'] },
      'registry.etcd.endpoints: wanted all of them with https, or all with http',
    ],
    [
      'a certificate without its key',
      { endpoints: ['https://a:2379'], certFile: '/c.pem' },
      'registry.etcd: wanted certFile and keyFile together; got one of them',
    ],
    [
      'a certificate file that is not there',
      { endpoints: ['https://a:2379'], caFile: '/nowhere/ca.pem' },
      "cannot read the etcd certificate file /nowhere/ca.pem: ENOENT: no such file or directory, stat '/nowhere/ca.pem'",
    ],
  ];
  for (const [name, options, message] of cases) {
    it(name, async () => {
      await assert.rejects(openEtcdStore({ endpoints: [], prefix: PREFIX, log, ...options }), {
        code: 'store_config',
        exitCode: 64,
        message,
      });
    });
  }
});

describe('etcd store', { concurrency: true }, () => {
  let etcd: TestEtcd;
  before(async () => {
    etcd = await startEtcd();
  });
  after(() => etcd.stop());

  it('says what it tried when no member answers', async (t) => {
    const store = await open(t, { endpoints: [DEAD, 'http://127.0.0.1:2'] });
    const started = performance.now();
    await assert.rejects(store.get('config/mesh'), (error: Error & { code: string }) => {
      assert.equal(error.code, 'store_unreachable');
      assert.equal((error as { exitCode?: number }).exitCode, 69);
      assert.match(
        error.message,
        /^etcd cannot be reached, wanted to read the key \/gatemesh\/v1\/config\/mesh\. Tried http:\/\/127\.0\.0\.1:\d: connect ECONNREFUSED 127\.0\.0\.1:\d; http:\/\/127\.0\.0\.1:\d: connect ECONNREFUSED 127\.0\.0\.1:\d\. Is etcd running there, and do scheme, address and certificates in registry\.etcd fit it\?$/,
      );
      return true;
    });
    assert.ok(performance.now() - started < 6_000);
  });

  it('does everything through the member that lives', async (t) => {
    const store = await open(t, { endpoints: [DEAD, etcd.url], prefix: '/failover' });
    for (let n = 0; n < 10; n++) await store.put(`a/${n}`, 'x');
    const lease = await store.grant(10);
    assert.equal(await store.keepAlive(lease), 10);
    // A watch that meets the dead member is lost at once, and the next one tries another.
    await eventually(async () => {
      const heard = watch(store, 1);
      await eventually(() => assert.equal(heard.keys.length + heard.lost.length > 0, true));
      assert.deepEqual(heard.lost, []);
      assert.equal(heard.keys.length, 10);
    });
  });

  it('settles in time when etcd is frozen, and goes on when it is not', async (t) => {
    const proxy = await startFaultProxy(etcd.port);
    t.after(() => proxy.close());
    const store = await open(t, { endpoints: [`http://${proxy.address}`], prefix: '/frozen' });
    const { revision } = await store.put('a', '1');
    const heard = watch(store, revision);
    await eventually(() => assert.deepEqual(heard.keys, ['a']));

    proxy.set({ stall: 'both' });
    const stalledAt = performance.now();
    await assert.rejects(store.get('a'), /no answer in time/);
    await assert.rejects(store.put('b', '2'), /It may have been done all the same/);
    assert.ok(performance.now() - stalledAt < 8_000);
    await eventually(() => assert.equal(heard.lost.length, 1), 16_000);
    assert.ok(heard.lostAt - stalledAt < 12_000, `noticed after ${heard.lostAt - stalledAt} ms`);

    proxy.set({});
    await eventually(async () => assert.equal((await store.get('a'))?.value, '1'));
  });

  it('loses a watch that is never confirmed', async (t) => {
    const proxy = await startFaultProxy(etcd.port);
    t.after(() => proxy.close());
    proxy.set({ stall: 'down' });
    const store = await open(t, { endpoints: [`http://${proxy.address}`] });
    const heard = watch(store, 1);
    await eventually(() => assert.equal(heard.lost.length, 1), 7_000);
    assert.equal(heard.lost[0], 'silence: etcd did not confirm the watch in time');
  });

  it('takes answers and revisions larger than gRPC and etcd do by default', async (t) => {
    const store = await open(t, { endpoints: etcd.endpoints, prefix: '/large' });
    const value = 'x'.repeat(60 * 1024);
    const { revision } = await store.range('');
    for (let n = 0; n < 8; n++) {
      const success = Array.from({ length: 20 }, (_, i) => {
        return { type: 'put', key: `${n}/${i}`, value } as const;
      });
      await store.txn({ compare: [], success });
    }
    assert.equal((await store.range('')).entries.length, 160);
    const heard = watch(store, revision + 1);
    await eventually(() => assert.equal(heard.keys.length, 160), 10_000);
    assert.deepEqual(heard.lost, []);
  });

  it('leaves nothing behind that keeps the process alive', async () => {
    const script = `
      const { openEtcdStore } = await import(${JSON.stringify(STORE)});
      const { createLog } = await import(${JSON.stringify(LOG)});
      const endpoints = ${JSON.stringify([DEAD, etcd.url])};
      const store = await openEtcdStore({ endpoints, prefix: '/exit', log: createLog() });
      const lease = await store.grant(5);
      await store.put('a', '1', lease);
      await store.keepAlive(lease);
      for (let n = 0; n < 3; n++) {
        store.watch('', 1, { onEvents() {}, onProgress() {}, onLost() {} });
      }
      await store.get('a');
      await store.close();`;
    const args = ['--input-type=module', '-e', script];
    const child = spawn(process.execPath, args, { stdio: 'inherit', timeout: 5_000 });
    const [code] = (await once(child, 'exit')) as [number | null];
    assert.equal(code, 0);
  });

  it('loses the watch at a member that is behind it, as after a restore', async (t) => {
    const store = await open(t, { endpoints: etcd.endpoints, prefix: '/behind' });
    const heard = watch(store, 1_000_000_000);
    await eventually(() => assert.equal(heard.lost.length, 1), 10_000);
    assert.match(heard.lost[0]!, /^the revision went back from 999999999 to \d+$/);
  });
});

it('etcd that is wiped: the watch is lost, and the list tells of another cluster', async (t) => {
  const etcd = await startEtcd();
  t.after(() => etcd.stop());
  const store = await open(t, { endpoints: etcd.endpoints });
  await store.put('a', '1');
  const { clusterId, revision } = await store.range('');
  const heard = watch(store, revision + 1);
  await etcd.restart({ wipe: true });
  await eventually(() => assert.equal(heard.lost.length, 1));
  const list = await eventually(() => store.range(''));
  assert.deepEqual(list.entries, []);
  assert.notEqual(list.clusterId, clusterId);
});

describe('etcd with client certificates and roles', () => {
  let etcd: TestEtcd;
  before(async () => {
    etcd = await startEtcd({ tls: true });
    await etcd.etcdctl('user', 'add', 'root', '--no-password');
    await etcd.etcdctl('user', 'grant-role', 'root', 'root');
    await etcd.etcdctl('user', 'add', 'vm-a', '--no-password');
    await etcd.etcdctl('role', 'add', 'vm-a');
    const range = ['--prefix', 'vm-a', 'readwrite', `${PREFIX}/nodes/vm-a`];
    await etcd.etcdctl('role', 'grant-permission', ...range);
    await etcd.etcdctl('user', 'grant-role', 'vm-a', 'vm-a');
    await etcd.etcdctl('auth', 'enable');
  });
  after(() => etcd.stop());

  it('says which keys are denied, and to whom', async (t) => {
    const tls = await etcd.clientCertificate('vm-a');
    const store = await open(t, { endpoints: etcd.endpoints, ...tls });
    await store.put('nodes/vm-a', '{}');
    await assert.rejects(store.put('config/mesh', '{}'), {
      code: 'store_denied',
      message:
        'etcd does not let this client write the key /gatemesh/v1/config/mesh: permission denied. ' +
        'Grant a role with this key range to the user that the client certificate names (its CN)',
    });
    await assert.rejects(store.range(''), {
      code: 'store_denied',
      message: /^etcd does not let this client read the keys under \/gatemesh\/v1\/: permission/,
    });
  });

  it('a denied watch is lost and does not stand in the way of the next', async (t) => {
    const tls = await etcd.clientCertificate('vm-a');
    const store = await open(t, { endpoints: etcd.endpoints, ...tls });
    const { revision } = await store.put('nodes/vm-a', '{}');
    const denied = watch(store, revision, 'config/');
    const allowed = watch(store, revision, 'nodes/vm-a');
    await eventually(() => assert.equal(denied.lost.length, 1));
    assert.match(denied.lost[0]!, /permission denied/);
    await eventually(() => assert.deepEqual(allowed.keys, ['nodes/vm-a']));
  });

  it('takes renewed certificate files into use', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'gatemesh-certs-'));
    t.after(() => rm(folder, { recursive: true }));
    const files = {
      caFile: join(folder, 'ca.crt'),
      certFile: join(folder, 'client.crt'),
      keyFile: join(folder, 'client.key'),
    };
    const install = async (commonName: string) => {
      const made = await etcd.clientCertificate(commonName);
      await copyFile(made.caFile, files.caFile);
      await copyFile(made.certFile, files.certFile);
      return async () => copyFile(made.keyFile, files.keyFile);
    };
    let passedMs = 0;
    const clock: Clock = { ...systemClock, now: () => systemClock.now() + passedMs };

    await (
      await install('vm-a')
    )();
    const store = await open(t, { endpoints: etcd.endpoints, clock, ...files });
    await assert.rejects(store.get('config/mesh'), { code: 'store_denied' });

    // Half of the new pair: the old one stays in use.
    const finish = await install('root');
    passedMs += 6_000;
    await assert.rejects(store.get('config/mesh'), { code: 'store_denied' });
    await finish();
    passedMs += 6_000;
    assert.equal(await store.get('config/mesh'), undefined);
  });

  it('says so when the server is not the one the certificates fit', async (t) => {
    const store = await open(t, { endpoints: etcd.endpoints });
    await assert.rejects(store.get('a'), {
      code: 'store_unreachable',
      message: /Tried https:\/\/127\.0\.0\.1:\d+: (self-signed certificate|unable to)/,
    });
  });
});
