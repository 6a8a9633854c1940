import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLog } from '#kit/log.ts';
import type { StatusReport } from '../../gateway/admin/source.ts';
import { openEmbeddedStore } from '../../registry/store/embedded.ts';
import type { Store } from '../../registry/store/store.ts';
import { eventually } from '../support/eventually.ts';

const GATEMESH = fileURLToPath(new URL('../../gateway/gatemesh', import.meta.url));

let folder: string;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gatemesh-supervisor-'));
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await rm(folder, { recursive: true });
});

interface Gateway {
  readonly child: ChildProcess;
  readonly exited: Promise<number | string | null>;
  output(): string;
  errors(): string;
}

/** `gatemesh …` as a process of its own; ended at the end of the test. */
function gatemesh(...args: readonly string[]): Gateway {
  const child = spawn(GATEMESH, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk) => (output += String(chunk)));
  child.stderr.on('data', (chunk) => (errors += String(chunk)));
  const exited = new Promise<number | string | null>((resolve) => {
    child.on('close', (code, signal) => resolve(code ?? signal));
  });
  cleanups.push(() => {
    child.kill('SIGKILL');
    return exited;
  });
  return { child, exited, output: () => output, errors: () => errors };
}

async function writeConfig(change: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const file = join(folder, 'gateway.json');
  const config = {
    node: 'vm-a',
    dataDir: join(folder, 'data'),
    registry: { embedded: {} },
    mesh: { listen: '127.0.0.1:0' },
    egress: { listen: '127.0.0.1:0' },
    admin: { listen: '127.0.0.1:0', socket: join(folder, 'run', 'admin.sock') },
    accessLog: false,
    ...change,
  };
  await writeFile(file, JSON.stringify(config));
  return file;
}

/** Answers every request with its own name. */
async function origin(name: string): Promise<string> {
  const server = http.createServer((_request, response) => response.end(name));
  await listening(server);
  cleanups.push(() => server.close().closeAllConnections());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function listening(server: Server): Promise<void> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
}

/** Over the admin API's Unix socket. */
function admin(path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const socketPath = join(folder, 'run', 'admin.sock');
    const request = http.get({ socketPath, path, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += String(chunk)));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    request.on('error', reject);
  });
}

async function status(): Promise<StatusReport> {
  return JSON.parse((await admin('/status')).body) as StatusReport;
}

async function ready(): Promise<StatusReport> {
  return eventually(async () => {
    assert.equal((await admin('/readyz')).body, '{"ready":true,"why":[],"warnings":[]}');
    return status();
  }, 10_000);
}

function addressOf(report: StatusReport, id: string): string {
  return report.listeners.find((listener) => listener.id === id)!.address;
}

/** One request by way of a listener. */
function ask(at: string, host: string): Promise<string> {
  const [hostname, port] = at.split(':');
  return new Promise((resolve, reject) => {
    const options = { host: hostname, port: Number(port), headers: { host }, agent: false };
    const request = http.get(options, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += String(chunk)));
      response.on('end', () => resolve(`${response.statusCode} ${body}`));
    });
    request.on('error', reject);
  });
}

async function registry(): Promise<Store> {
  const store = await openEmbeddedStore({
    file: join(folder, 'data', 'registry.db'),
    log: createLog({ level: 'silent' }),
  });
  cleanups.push(() => store.close());
  return store;
}

async function keys(store: Store, prefix: string): Promise<string[]> {
  return (await store.range(prefix)).entries.map(({ key }) => key);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('gatemesh gateway', () => {
  it('serves, survives its worker, and leaves nothing behind when told to stop', async () => {
    const address = await origin('shop');
    const services = [{ service: 'web', address, check: { http: '/', interval: '100ms' } }];
    const gateway = gatemesh('gateway', '--config', await writeConfig({ services }));
    const report = await ready();
    assert.equal((await stat(join(folder, 'data'))).mode & 0o777, 0o700);
    const egress = addressOf(report, 'egress');
    await eventually(async () => assert.equal(await ask(egress, 'web.mesh'), '200 shop'));

    const worker = report.workers[0]!.pid;
    process.kill(worker, 'SIGKILL');
    assert.equal(await ask(egress, 'web.mesh'), '200 shop');
    await ready();

    const store = await registry();
    const id = `vm-a-web-${address.split(':')[1]}`;
    assert.deepEqual(await keys(store, 'nodes/'), ['nodes/vm-a', `nodes/vm-a/instances/web/${id}`]);
    await eventually(async () => assert.deepEqual(await keys(store, 'status/'), ['status/vm-a']));

    const { pid } = (await status()).workers[0]!;
    gateway.child.kill('SIGTERM');
    assert.equal(await gateway.exited, 0);
    assert.deepEqual(await keys(store, 'nodes/'), []);
    assert.deepEqual(await keys(store, 'status/'), []);
    assert.equal(isAlive(pid), false);
    assert.equal(gateway.errors(), '');
  });

  it('reports a bad document within a second, and its correction', async () => {
    gatemesh('gateway', '--config', await writeConfig());
    await ready();
    const store = await registry();
    const reported = async (): Promise<unknown[]> => {
      const text = (await store.get('status/vm-a'))?.value ?? '{}';
      return (JSON.parse(text) as { rejected?: unknown[] }).rejected ?? [];
    };
    await store.put('config/routes/shop', '{"hots":"shop.example.com"}');
    const rejected = await eventually(async () => {
      const list = await reported();
      assert.equal(list.length, 1);
      return list;
    }, 1_000);
    assert.equal((rejected[0] as { key: string }).key, 'config/routes/shop');
    const asked = JSON.parse((await admin('/explain?url=http://shop.example.com/')).body);
    assert.match(asked.outcome, /^404 NR/);
    assert.deepEqual(asked.notInForce, rejected);
    await store.delete('config/routes/shop');
    await eventually(async () => assert.deepEqual(await reported(), []), 1_000);
    const later = JSON.parse((await admin('/explain?url=http://shop.example.com/')).body);
    assert.equal(later.notInForce, undefined);
  });

  it('writes the first hundred of many bad documents into its status, which has to fit into one request', async () => {
    gatemesh('gateway', '--config', await writeConfig());
    await ready();
    const store = await registry();
    for (let i = 0; i < 120; i++) await store.put(`config/routes/shop-${i}`, '{}');
    await eventually(async () => {
      assert.equal((await status()).registry.rejected.length, 120);
      const text = (await store.get('status/vm-a'))?.value ?? '{}';
      assert.equal((JSON.parse(text) as { rejected?: unknown[] }).rejected?.length, 100);
    });
  });

  it('takes its instances out while the operator says maintenance', async () => {
    const services = [{ service: 'web', address: await origin('shop'), check: { http: '/' } }];
    gatemesh('gateway', '--config', await writeConfig({ services }));
    const egress = addressOf(await ready(), 'egress');
    await eventually(async () => assert.equal(await ask(egress, 'web.mesh'), '200 shop'));
    const store = await registry();
    await store.put('config/nodes/vm-a', '{"maintenance":true}');
    await eventually(async () => {
      assert.equal((await status()).instances[0]?.state, 'maintenance');
      assert.match(await ask(egress, 'web.mesh'), /^503 /);
    });
    await store.delete('config/nodes/vm-a');
    await eventually(async () => assert.equal(await ask(egress, 'web.mesh'), '200 shop'));
  });

  it('opens and closes edge listeners with their document', async () => {
    const services = [{ service: 'web', address: await origin('shop'), check: { http: '/' } }];
    gatemesh('gateway', '--config', await writeConfig({ services, gateway: 'public' }));
    await ready();
    const store = await registry();
    const listener = { port: await freePort(), address: '127.0.0.1', protocol: 'http' };
    await store.put('config/gateways/public', JSON.stringify({ listeners: [listener] }));
    const route = { host: 'shop.example.com', gateways: ['public'], to: 'web' };
    await store.put('config/routes/shop', JSON.stringify(route));
    const edge = `127.0.0.1:${listener.port}`;
    await eventually(async () => assert.equal(await ask(edge, 'shop.example.com'), '200 shop'));
    await store.delete('config/gateways/public');
    await eventually(() => assert.rejects(ask(edge, 'shop.example.com'), { code: 'ECONNREFUSED' }));
  });

  it('serves from disk while registry and CA are away', async () => {
    const services = [{ service: 'web', address: await origin('shop'), check: { http: '/' } }];
    const first = gatemesh('gateway', '--config', await writeConfig({ services }));
    await ready();
    const store = await registry();
    await store.put('config/routes/shop', '{"host":"shop.example.com","to":"web"}');
    await eventually(async () => {
      const egress = addressOf(await status(), 'egress');
      assert.equal(await ask(egress, 'shop.example.com'), '200 shop');
    });
    await eventually(async () => {
      const saved = await readFile(join(folder, 'data', 'snapshot.json'), 'utf8');
      assert.match(saved, /config\/routes\/shop/);
    });
    first.child.kill('SIGKILL');
    await first.exited;

    const nobody = `127.0.0.1:${await freePort()}`;
    const file = await writeConfig({
      services,
      registry: { etcd: { endpoints: [`http://${nobody}`] } },
      identity: { ca: `https://${nobody}`, tokenFile: join(folder, 'token') },
    });
    gatemesh('gateway', '--config', file);
    await eventually(async () => {
      const report = await status();
      assert.equal(report.registry.source, 'disk');
      assert.equal(await ask(addressOf(report, 'egress'), 'shop.example.com'), '200 shop');
    }, 10_000);
  });

  it('starts with its own certificates, whatever trust domain was put meanwhile', async () => {
    const first = gatemesh('gateway', '--config', await writeConfig());
    await ready();
    await (await registry()).put('config/mesh', '{"trustDomain":"other.example"}');
    await eventually(async () => {
      const saved = await readFile(join(folder, 'data', 'snapshot.json'), 'utf8');
      assert.match(saved, /other\.example/);
    });
    first.child.kill('SIGKILL');
    await first.exited;

    const second = gatemesh('gateway', '--config', await writeConfig());
    assert.equal((await ready()).trustDomain, 'mesh.internal');
    assert.match(second.output(), /config\/mesh names another trust domain than the certificates/);
  });

  it('reads its services again on SIGHUP, and keeps what it has when a file is bad', async () => {
    const gateway = gatemesh('gateway', '--config', await writeConfig());
    await ready();
    const names = async (): Promise<string[]> =>
      (await status()).instances.map(({ service }) => service);
    await mkdir(join(folder, 'services.d'));
    const file = join(folder, 'services.d', 'orders.yaml');
    await writeFile(file, `service: orders\naddress: ${await origin('orders')}\n`);
    gateway.child.kill('SIGHUP');
    await eventually(async () => assert.deepEqual(await names(), ['orders']));
    await eventually(async () => assert.equal((await status()).instances[0]?.state, 'ready'));

    await writeFile(file, 'servise: orders\n');
    gateway.child.kill('SIGHUP');
    await eventually(() =>
      assert.match(gateway.output(), /servise.*"msg":"reload: nothing changed"/),
    );
    assert.deepEqual(await names(), ['orders']);
    assert.match((await status()).fileProblem ?? '', /orders\.yaml:1: .*servise/);

    await rm(file);
    await writeConfig({ egress: { listen: `127.0.0.1:${await freePort()}` } });
    gateway.child.kill('SIGHUP');
    await eventually(async () => assert.deepEqual(await names(), []));
    assert.equal((await status()).fileProblem, null);
    assert.match(
      gateway.output(),
      /"settings":\["egress"\],"msg":"reload: these settings take effect after a restart"/,
    );
  });
});

/** Free a moment ago; good enough for what nobody else on this machine is told of. */
async function freePort(): Promise<number> {
  const server = createServer();
  await listening(server);
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('gatemesh gateway refuses to start', () => {
  it('on a port in use: one message, and nothing left running', async () => {
    const other = createServer();
    await listening(other);
    cleanups.push(() => other.close());
    const listen = `127.0.0.1:${(other.address() as AddressInfo).port}`;
    for (const change of [{ mesh: { listen } }, { egress: { listen } }]) {
      const file = await writeConfig(change);
      const gateway = gatemesh('gateway', '--config', file);
      assert.equal(await gateway.exited, 1);
      const setting = `${Object.keys(change)[0]}.listen in ${file}`;
      assert.ok(
        gateway
          .errors()
          .startsWith(`gatemesh: ${listen} (${setting}) is in use by another process`),
        gateway.errors(),
      );
      assert.equal(gateway.errors().trimEnd().split('\n').length, 1);
    }
    const socket = join(folder, 'run', 'admin.sock');
    const file = await writeConfig({ admin: { listen, socket } });
    const gateway = gatemesh('gateway', '--config', file);
    assert.notEqual(await gateway.exited, 0);
    assert.match(gateway.errors(), /^gatemesh: admin: cannot listen on .*another program listens/);
  });

  it('with a data directory it cannot write to', async () => {
    await writeFile(join(folder, 'file'), '');
    const dataDir = join(folder, 'file', 'data');
    const gateway = gatemesh('gateway', '--config', await writeConfig({ dataDir }));
    assert.equal(await gateway.exited, 64);
    assert.match(
      gateway.errors(),
      /^gatemesh: dataDir \S+: wanted a folder that this user can write to; ENOTDIR.*Create it/,
    );
  });

  it('on flags that cannot be meant', async () => {
    const rows: readonly [args: string[], error: RegExp][] = [
      [[], /^gatemesh: gatemesh gateway: wanted --config FILE; got nothing\nusage: /],
      [['--confg', 'x'], /unknown flag "--confg"\. Did you mean "--config"\?/],
      [['x'], /wanted flags only; got "x"/],
    ];
    for (const [args, error] of rows) {
      const gateway = gatemesh('gateway', ...args);
      assert.equal(await gateway.exited, 64);
      assert.match(gateway.errors(), error);
    }
  });
});

describe('gatemesh gateway --check', () => {
  it('says that a good file is good', async () => {
    const file = await writeConfig({ services: [{ service: 'web', address: '127.0.0.1:80' }] });
    const gateway = gatemesh('gateway', '--check', '--config', file);
    assert.equal(await gateway.exited, 0);
    assert.equal(gateway.output(), `${file} is good: node vm-a, services web\n`);
    await assert.rejects(stat(join(folder, 'data')), { code: 'ENOENT' });
  });

  const etcd = { endpoints: ['https://127.0.0.1:2379'] };
  const identity = { ca: 'https://127.0.0.1:15444', tokenFile: '/nowhere/token' };
  const rows: readonly [
    name: string,
    change: Record<string, unknown>,
    errors: readonly RegExp[],
  ][] = [
    ['an unknown field', { nodee: 'x' }, [/\$\.?.*nodee.*Did you mean "node"\?/]],
    [
      'two problems at once',
      { workers: 0, services: [{ service: 'web' }] },
      [/2 problems/, /\$\.workers/, /\$\.services\[0\]\.address/],
    ],
    [
      'a CA file of etcd that is not there',
      { registry: { etcd: { ...etcd, caFile: '/nowhere/ca.pem' } }, identity },
      [/a problem with what/, /\/nowhere\/ca\.pem/],
    ],
    [
      'identity files that are not there',
      {
        identity: { certFile: '/nowhere/c', keyFile: '/nowhere/k', bundleFile: '/nowhere/b' },
      },
      [/3 problems/, /identity\.certFile: wanted a file this user can read; ENOENT/],
    ],
  ];
  for (const [name, change, errors] of rows) {
    it(`names ${name}`, async () => {
      const gateway = gatemesh('gateway', '--check', '--config', await writeConfig(change));
      assert.equal(await gateway.exited, 64);
      for (const error of errors) assert.match(gateway.errors(), error);
      assert.doesNotMatch(gateway.errors(), /\n {4}at /);
    });
  }

  it('names files that hold something else', async () => {
    const wrong = join(folder, 'wrong');
    await writeFile(wrong, 'let me in\n');
    const files = { certFile: wrong, keyFile: wrong, bundleFile: wrong };
    const checked = async (said: object) => {
      const gateway = gatemesh(
        'gateway',
        '--check',
        '--config',
        await writeConfig({ identity: said }),
      );
      assert.equal(await gateway.exited, 64);
      return gateway.errors();
    };
    assert.match(
      await checked({ ca: 'https://127.0.0.1:15444', tokenFile: wrong }),
      /a problem with .*\n {2}identity\.tokenFile: \S+wrong does not hold a token; write the line/,
    );
    const errors = await checked(files);
    assert.match(errors, /identity\.certFile: \S+wrong does not hold a certificate in PEM/);
    assert.match(errors, /identity\.keyFile: \S+wrong does not hold a private key .*in PEM/);
    assert.match(
      errors,
      /identity\.bundleFile: \S+wrong does not hold the roots' certificates in PEM/,
    );
    assert.doesNotMatch(errors, /let me in/);
  });

  it('names a file that is not there', async () => {
    const gateway = gatemesh('gateway', '--check', '--config', join(folder, 'none.yaml'));
    assert.equal(await gateway.exited, 64);
    assert.match(gateway.errors(), /^gatemesh: cannot read \S+none\.yaml: there is no such file/);
  });
});
