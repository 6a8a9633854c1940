import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttp } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { MeshError } from '#kit/errors.ts';
import { createLog } from '#kit/log.ts';
import { startAdmin } from '../../gateway/admin/server.ts';
import type { AdminSource } from '../../gateway/admin/source.ts';
import { runCheck, runExplain, runStatus } from '../../gateway/cli/inspect.ts';
import type { ExplainRequest } from '../../gateway/ipc.ts';
import { EXPLANATION, fakeSource, STATUS } from '../support/admin-source.ts';

const HOUR_MS = 3_600_000;

/** Certificates that are fresh whenever the test runs. */
const FRESH = {
  ...STATUS,
  identities: STATUS.identities.map((identity) => ({
    ...identity,
    notBefore: new Date(Date.now() - HOUR_MS).toISOString(),
    notAfter: new Date(Date.now() + 23 * HOUR_MS).toISOString(),
  })),
};

const NONE_YET = {
  identity: 'spiffe://mesh.internal/svc/api',
  notBefore: null,
  notAfter: null,
  nextRenewal: null,
  lastError: 'refused',
};

async function started(t: TestContext, changes: Partial<AdminSource> = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'gatemesh-cli-'));
  const socket = join(dir, 'admin.sock');
  const listen = { host: '127.0.0.1', port: 0 };
  const log = createLog({ level: 'silent' });
  const source = fakeSource({ status: () => FRESH, ...changes });
  const admin = await startAdmin(source, { listen, socket, log });
  t.after(async () => {
    await admin.close();
    await rm(dir, { recursive: true, force: true });
  });
  return { url: `http://127.0.0.1:${admin.address.port}`, socket };
}

type Command = typeof runExplain;

async function run(command: Command, argv: readonly string[], env: NodeJS.ProcessEnv = {}) {
  let output = '';
  const code = await command(argv, { out: (text) => (output += text), env });
  return { code, output };
}

async function failure(command: Command, argv: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const error = await run(command, argv, env).then(
    () => assert.fail('it worked'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof MeshError, String(error));
  return error;
}

describe('gatemesh explain', () => {
  it('asks what was typed and draws the answer', async (t) => {
    let asked: ExplainRequest | undefined;
    const { url } = await started(t, {
      explain: async (request) => {
        asked = request;
        return EXPLANATION;
      },
    });
    const typed = 'post orders.mesh/x?a=1&b=2 --from web -H X-Canary:1 --header accept:*/* --admin';
    const { code, output } = await run(runExplain, [...typed.split(' '), url]);
    assert.equal(code, 0);
    assert.deepEqual(asked, {
      method: 'POST',
      url: 'http://orders.mesh/x?a=1&b=2',
      from: 'web',
      gateway: undefined,
      headers: [
        ['x-canary', '1'],
        ['accept', '*/*'],
      ],
    });
    assert.equal(
      output,
      `\
GET orders.mesh/x from web

routes, in the order they are tried
  orders-canary  no      header x-canary: wanted "1", got nothing
  orders         CHOSEN  host and path match

95 % to orders@v1, allowed: intention orders allows web
  INSTANCE  NODE  ADDRESS         WEIGHT  USED  WHY
  orders-1  vm-b  10.0.0.2:15443  100     yes   passing
  orders-2  vm-c  10.0.0.3:15443  100     no    ejected for 10s: 5 errors in a row

5 % to orders@v2, DENIED: no intention for orders names web
  no endpoints

outcome: 95 % reach an endpoint, 5 % get 403 DENIED
`,
    );
  });

  it('prints the answer as JSON', async (t) => {
    const { socket } = await started(t);
    const { output } = await run(runExplain, ['http://a/', '--json', '--socket', socket]);
    assert.deepEqual(JSON.parse(output), JSON.parse(JSON.stringify(EXPLANATION)));
  });

  it('passes on what the API finds wrong, as bad usage', async (t) => {
    const { url } = await started(t);
    const error = await failure(runExplain, ['/x', '--admin', url]);
    assert.equal(error.exitCode, 64);
    assert.equal(
      error.message,
      `${url}: url: wanted "http://orders.mesh/path", or "/path" with h=host:orders.mesh; got no host`,
    );
  });

  it('takes an address without a scheme, as configurations have it', async (t) => {
    const { url } = await started(t);
    const { code } = await run(runExplain, ['http://orders.mesh/', '--admin', url.slice(7)]);
    assert.equal(code, 0);
    assert.equal((await run(runStatus, [], { GATEMESH_ADMIN: url.slice(7) })).code, 0);
  });

  it('lists rejected documents that may be what is missing, a line for each problem', async (t) => {
    const error = '$.hots: unknown\n$.host: wanted one';
    const rejection = { key: 'config/routes/y', revision: 9, path: '$.hots', error, using: null };
    const explain = async () => ({ ...EXPLANATION, notInForce: [rejection] });
    const { url } = await started(t, { explain });
    const { output } = await run(runExplain, ['http://orders.mesh/', '--admin', url]);
    assert.ok(
      output.endsWith(`
rejected documents, which are not in force as they stand
  KEY              REVISION  IN FORCE  ERROR
  config/routes/y  9         nothing   $.hots: unknown
                                       $.host: wanted one

outcome: 95 % reach an endpoint, 5 % get 403 DENIED
`),
      output,
    );
  });

  const usage: readonly [name: string, argv: string, message: RegExp][] = [
    [
      'no URL',
      '',
      /^gatemesh explain: wanted \[METHOD\] URL; got nothing\nusage: gatemesh explain/,
    ],
    ['three words', 'GET http://a/ b', /got 3 words/],
    ['a misspelt flag', 'http://a/ --form web', /unknown flag "--form". Did you mean "--from"\?/],
    ['two addresses', 'a --admin http://a --socket /b', /wanted --admin or --socket; got both/],
    [
      'https',
      'a --admin https://a',
      /--admin: wanted a URL such as http:\/\/127\.0\.0\.1:15000; got "https:\/\/a"\nusage: gatemesh explain \[METHOD\] URL/,
    ],
  ];
  for (const [name, argv, message] of usage) {
    it(`refuses ${name}`, async () => {
      const error = await failure(runExplain, argv.split(' ').filter(Boolean));
      assert.equal(error.exitCode, 64);
      assert.match(error.message, message);
    });
  }
});

describe('gatemesh status', () => {
  it('draws the report, found by GATEMESH_ADMIN as URL or socket', async (t) => {
    const { url, socket } = await started(t);
    const { code, output } = await run(runStatus, [], { GATEMESH_ADMIN: url });
    assert.equal(code, 0);
    assert.match(output, /^node      vm-a, zone dc1-a, edge gateway public\n/);
    assert.match(output, /\nregistry  etcd at .*: connected, current 0\.4s ago\n/);
    assert.match(output, /\n {2}vm-b  10\.0\.0\.2:15443  dc1-b  0\.1\.0\n/);
    assert.doesNotMatch(output, /rejected|held/);
    const troubled = { ...FRESH, fileProblem: 'a problem:\n  x', identities: [NONE_YET] };
    const { output: trouble } = await run(runStatus, [
      '--admin',
      (await started(t, { status: () => troubled })).url,
    ]);
    assert.match(trouble, /\nfile +the file on disk is NOT IN FORCE: a problem: x\n/);
    assert.match(
      trouble,
      /\n {2}spiffe:\/\/mesh\.internal\/svc\/api +NONE YET +not by us +refused\n/,
    );
    const bySocket = await run(runStatus, ['--json'], { GATEMESH_ADMIN: socket });
    assert.deepEqual(JSON.parse(bySocket.output), FRESH);
  });

  it('tells which node is unknown', async (t) => {
    const { url } = await started(t);
    const error = await failure(runStatus, ['--admin', url, '--node', 'vm-x']);
    assert.match(error.message, /node "vm-x": registered are vm-a, vm-b/);
  });

  it('exits 69 when nobody answers, with what to try', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    closed.close();
    const error = await failure(runStatus, ['--admin', `http://127.0.0.1:${port}`]);
    assert.equal(error.exitCode, 69);
    assert.equal(
      error.message,
      `no admin API at http://127.0.0.1:${port} (connect ECONNREFUSED 127.0.0.1:${port}); is the gateway running here (systemctl status gatemesh)? Another address: --admin URL, --socket PATH or GATEMESH_ADMIN`,
    );
    const socket = await failure(runStatus, ['--socket', '/nonexistent/admin.sock']);
    assert.equal(socket.exitCode, 69);
    assert.match(socket.message, /^no admin API at \/nonexistent\/admin\.sock \(connect ENOENT/);
  });

  it('waits 5 s and no longer', async (t) => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    t.after(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    const error = await failure(runStatus, ['--admin', `http://127.0.0.1:${port}`]);
    assert.equal(error.exitCode, 69);
    assert.match(error.message, /\(no answer within 5 s\)/);
  });

  it('is not taken in by another server', async (t) => {
    const other = createHttp((_req, res) => res.end('<h1>It works!</h1>')).listen(0, '127.0.0.1');
    await once(other, 'listening');
    t.after(() => other.close());
    const { port } = other.address() as AddressInfo;
    const error = await failure(runStatus, ['--admin', `http://127.0.0.1:${port}`]);
    assert.match(error.message, /it answered 200 without JSON: not a gatemesh admin API\?/);
  });
});

describe('gatemesh check', () => {
  it('exits 0 on a healthy node and 1 on trouble', async (t) => {
    let status = FRESH;
    const { url } = await started(t, { status: () => status });
    const healthy = await run(runCheck, ['--admin', url]);
    assert.equal(healthy.code, 0);
    assert.doesNotMatch(healthy.output, /WARN|FAIL/);

    status = { ...FRESH, workers: [{ pid: 7, state: 'down' }] };
    const sick = await run(runCheck, ['--admin', url]);
    assert.equal(sick.code, 1);
    assert.match(sick.output, /\nFAIL {2}worker 7 +down\n +-> it is started again;/);
    const json = await run(runCheck, ['--admin', url, '--json']);
    assert.equal(json.code, 1);
    assert.equal(JSON.parse(json.output).ok, false);
  });

  it('explains itself', async () => {
    const { code, output } = await run(runCheck, ['--help']);
    assert.equal(code, 0);
    assert.match(output, /^usage: gatemesh check/);
  });
});
