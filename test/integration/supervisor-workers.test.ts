import assert from 'node:assert/strict';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Clock } from '#kit/clock.ts';
import { createLog } from '#kit/log.ts';
import type { RegistryChange } from '../../registry/view-types.ts';
import { bindListener, type ListenSocket } from '../../gateway/supervisor/listen-sockets.ts';
import { Workers } from '../../gateway/supervisor/workers.ts';
import { eventually } from '../support/eventually.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };
const SPEC = { id: 'egress', kind: 'egress', as: undefined, to: undefined } as const;

/** Ten times as fast as the wall: ten seconds of silence are over in one. */
const fastClock: Clock = {
  now: () => performance.now() * 10,
  wallMs: () => Date.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms / 10);
    return () => clearTimeout(timer);
  },
};

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function socket(): Promise<ListenSocket> {
  const bound = await bindListener(LOOPBACK, 'a test');
  cleanups.push(() => bound.close());
  return bound;
}

function start(count = 1): { workers: Workers; table: Map<string, string> } {
  const table = new Map([['config/routes/a', 'first']]);
  const workers = new Workers({
    count,
    workerFile: fileURLToPath(new URL('../support/stub-worker.ts', import.meta.url)),
    tables: () => change(table.size, true, [...table.keys()]),
    clock: fastClock,
    rng: () => 0.5,
    log: createLog({ level: 'silent' }),
    onApplied: () => {},
  });
  cleanups.push(() => workers.drain(0));
  workers.start({
    node: 'vm-a',
    zone: 'z',
    trustDomain: 'mesh.internal',
    nodeIdentity: 'spiffe://mesh.internal/node/vm-a',
    gateway: undefined,
    accessLog: false,
    adminAddress: undefined,
  });
  return { workers, table };
}

function change(revision: number, reset: boolean, keys: readonly string[]): RegistryChange {
  const put = keys.map((key) => [key, { kind: 'routes', document: { name: key } }]);
  return { revision, reset, put, deleted: [] } as unknown as RegistryChange;
}

interface Told {
  readonly pid: number;
  readonly revision: number;
  readonly keys: readonly string[];
  readonly identities: readonly string[];
  readonly settings: { readonly node: string };
}

async function get(at: ListenSocket, path = '/'): Promise<Told> {
  const response = await fetch(`http://127.0.0.1:${at.address.port}${path}`);
  return (await response.json()) as Told;
}

describe('Workers', () => {
  it('tells a worker everything, and its successor the newest of it', async () => {
    const { workers, table } = start();
    const at = await socket();
    workers.listen(SPEC, at);
    assert.equal(await workers.settled([SPEC.id], 50_000), undefined);
    const first = await get(at);
    assert.equal(first.settings.node, 'vm-a');
    assert.deepEqual(first.keys, ['config/routes/a']);

    workers.setIdentity({
      svids: new Map([['spiffe://mesh.internal/svc/web', {} as never]]),
      bundle: { trustDomain: 'mesh.internal', rootsPem: [] },
    });
    table.set('config/routes/b', 'second');
    workers.applyChange(change(2, false, ['config/routes/b']));
    await eventually(() => assert.equal(workers.applied, 2));

    process.kill(first.pid, 'SIGKILL');
    // The request waits in the kernel's queue until the next worker takes it.
    const second = await get(at);
    assert.notEqual(second.pid, first.pid);
    assert.deepEqual(second.keys, ['config/routes/a', 'config/routes/b']);
    assert.deepEqual(second.identities, ['spiffe://mesh.internal/svc/web']);
    assert.equal(workers.applied, 2);
  });

  it('refuses no connection while workers die again and again', async () => {
    const { workers } = start();
    const at = await socket();
    workers.listen(SPEC, at);
    await workers.settled([SPEC.id], 50_000);
    for (let round = 0; round < 3; round++) {
      const { pid } = await get(at);
      process.kill(pid, 'SIGKILL');
      await Promise.all(Array.from({ length: 5 }, () => get(at)));
    }
  });

  it('replaces a worker whose loop does not turn', async () => {
    const { workers } = start();
    const at = await socket();
    workers.listen(SPEC, at);
    await workers.settled([SPEC.id], 50_000);
    const { pid } = await get(at);
    await assert.rejects(get(at, '/hang'));
    await eventually(async () => assert.notEqual((await get(at)).pid, pid));
  });

  it('keeps the counters of a dead worker and not its gauges', async () => {
    const { workers } = start();
    const at = await socket();
    workers.listen(SPEC, at);
    await workers.settled([SPEC.id], 50_000);
    const { pid } = await get(at);
    await get(at);
    assert.equal((await workers.metrics()).requests[0]?.count, 2);
    process.kill(pid, 'SIGKILL');
    await get(at);
    const sum = await eventually(async () => {
      const metrics = await workers.metrics();
      assert.equal(metrics.requests[0]?.count, 3);
      return metrics;
    });
    assert.equal(sum.activeRequests, 1);
  });

  it('takes the lowest revision of all its workers as the one in force', async () => {
    const { workers } = start(2);
    await eventually(() => {
      assert.ok(workers.summaries.every(({ state }) => state === 'running'));
      assert.equal(workers.applied, 1);
    });
    workers.applyChange(change(7, false, []));
    await eventually(() => assert.equal(workers.applied, 7));
  });

  it('stops accepting on a listener that is taken away, and frees its port', async () => {
    const { workers } = start();
    const at = await bindListener(LOOPBACK, 'a test');
    workers.listen(SPEC, at);
    await workers.settled([SPEC.id], 50_000);
    await get(at);
    workers.unlisten(SPEC.id);
    at.close();
    await eventually(async () => {
      const again = await bindListener(at.address, 'a test');
      again.close();
    });
  });

  it('names the listener that a worker cannot listen on', async () => {
    const at = await socket();
    // Both may bind, since neither listens; the second to listen is refused.
    const rival = await bindListener(at.address, 'a test');
    cleanups.push(() => rival.close());
    const { workers } = start();
    workers.listen(SPEC, at);
    await workers.settled([SPEC.id], 50_000);
    workers.listen({ ...SPEC, id: 'rival' }, rival);
    assert.deepEqual(await workers.settled(['rival'], 50_000), {
      id: 'rival',
      error: 'EADDRINUSE',
    });
  });

  it('is gone after a drain, every process of it', async () => {
    const { workers } = start(2);
    await eventually(() => assert.ok(workers.summaries.every(({ state }) => state === 'running')));
    const pids = workers.summaries.map(({ pid }) => pid);
    await workers.drain(100);
    for (const pid of pids) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  });
});

describe('bindListener', () => {
  const setting = 'mesh.listen in gateway.yaml';
  it('says which setting names a port that is in use', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => void other.close());
    const { port } = other.address() as AddressInfo;
    await assert.rejects(bindListener({ host: '127.0.0.1', port }, setting), {
      exitCode: 1,
      message: `127.0.0.1:${port} (mesh.listen in gateway.yaml) is in use by another process ("ss -ltnp" shows which); stop that one or choose another port`,
    });
  });

  it('says that an address is not this machine’s', async () => {
    await assert.rejects(bindListener({ host: '192.0.2.1', port: 0 }, setting), {
      exitCode: 64,
      message:
        '192.0.2.1:0 (mesh.listen in gateway.yaml) is not an address of this machine ("ip address" lists them)',
    });
  });
});
