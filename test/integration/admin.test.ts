import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fork } from 'node:child_process';
import { describe, it, type TestContext } from 'node:test';
import { MeshError } from '#kit/errors.ts';
import { createLog } from '#kit/log.ts';
import { startAdmin, type Admin } from '../../gateway/admin/server.ts';
import type { AdminSource } from '../../gateway/admin/source.ts';
import type { ExplainRequest } from '../../gateway/ipc.ts';
import { EXPLANATION, fakeSource, STATUS } from '../support/admin-source.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };
const log = createLog({ level: 'silent' });

async function started(t: TestContext, changes: Partial<AdminSource> = {}): Promise<Admin> {
  const admin = await startAdmin(fakeSource(changes), { listen: LOOPBACK, log });
  t.after(() => admin.close());
  return admin;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** By node:http, since fetch lets nobody choose the Host. */
async function ask(
  at: Admin | string,
  path: string,
  options: { readonly method?: string; readonly host?: string } = {},
): Promise<Answer> {
  const where =
    typeof at === 'string' ? { socketPath: at } : { host: at.address.host, port: at.address.port };
  const req = request({
    ...where,
    path,
    method: options.method ?? 'GET',
    agent: false,
    ...(options.host === undefined ? {} : { headers: { host: options.host } }),
  });
  req.end();
  const [response] = await once(req, 'response');
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk;
  return { status: response.statusCode, headers: response.headers, body };
}

describe('admin API', () => {
  it('shows status, config and health as JSON', async (t) => {
    const admin = await started(t);
    const status = await ask(admin, '/status');
    assert.equal(status.status, 200);
    assert.deepEqual(JSON.parse(status.body), STATUS);
    assert.equal(status.headers['content-type'], 'application/json; charset=utf-8');
    assert.equal(status.headers['access-control-allow-origin'], undefined);
    assert.equal((await ask(admin, '/healthz')).body, '{"status":"ok"}');
    const config = JSON.parse((await ask(admin, '/config')).body);
    assert.equal(config.documents['config/intentions/orders'].document.default, 'deny');
  });

  it('is ready or says with 503 what is missing', async (t) => {
    let why: string[] = [];
    const admin = await started(t, {
      ready: () => ({ ready: why.length === 0, why, warnings: ['w'] }),
    });
    assert.equal((await ask(admin, '/readyz')).status, 200);
    why = ['no certificate yet'];
    const answer = await ask(admin, '/readyz');
    assert.equal(answer.status, 503);
    assert.equal(answer.body, '{"ready":false,"why":["no certificate yet"],"warnings":["w"]}');
  });

  it('hands the request to explain and its answer back', async (t) => {
    let asked: ExplainRequest | undefined;
    const admin = await started(t, {
      explain: async (wanted) => {
        asked = wanted;
        return EXPLANATION;
      },
    });
    const query = new URLSearchParams([
      ['method', 'POST'],
      ['url', 'http://orders.mesh/x?a=b&c=d'],
      ['from', 'web'],
      ['gateway', ''],
      ['h', 'X-Canary: 1'],
      ['h', 'accept:*/*'],
    ]);
    const answer = await ask(admin, `/explain?${query.toString()}`);
    assert.deepEqual(asked, {
      method: 'POST',
      url: 'http://orders.mesh/x?a=b&c=d',
      from: 'web',
      gateway: undefined,
      headers: [
        ['x-canary', '1'],
        ['accept', '*/*'],
      ],
    });
    assert.deepEqual(JSON.parse(answer.body), EXPLANATION);
  });

  it('says what is wrong with a question', async (t) => {
    const admin = await started(t);
    const answer = await ask(admin, '/explain?uri=http://orders.mesh/');
    assert.equal(answer.status, 400);
    assert.deepEqual(JSON.parse(answer.body), {
      error: 'bad_request',
      message:
        'unknown parameter "uri". Did you mean "url"?; url: wanted "http://orders.mesh/path", or "/path" with h=host:orders.mesh; got nothing',
    });
  });

  it('tells a failure that was foreseen, and hides the others', async (t) => {
    let failure: Error = new MeshError('worker_silent', 'no worker answered within 2s');
    const admin = await started(t, { explain: () => Promise.reject(failure) });
    const foreseen = await ask(admin, '/explain?url=http://a/');
    assert.equal(foreseen.status, 503);
    assert.equal(
      foreseen.body,
      '{"error":"worker_silent","message":"no worker answered within 2s"}',
    );
    failure = new TypeError('x is not a function');
    const other = await ask(admin, '/explain?url=http://a/');
    assert.equal(other.status, 500);
    assert.doesNotMatch(other.body, /function/);
  });

  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND', 'QUERY']) {
    it(`refuses ${method}`, async (t) => {
      const admin = await started(t);
      for (const path of ['/status', '/nodes/vm-b/status', '/nowhere']) {
        const answer = await ask(admin, path, { method });
        assert.equal(answer.status, 405, path);
        assert.equal(answer.headers['allow'], 'GET, HEAD');
      }
    });
  }

  it('answers HEAD and unknown paths', async (t) => {
    const admin = await started(t);
    const head = await ask(admin, '/status', { method: 'HEAD' });
    assert.deepEqual([head.status, head.body], [200, '']);
    const missing = await ask(admin, '/statsu?x');
    assert.equal(missing.status, 404);
    assert.equal(missing.body, '{"error":"not_found","message":"no /statsu here; see /"}');
  });

  it('does not answer to a foreign Host, on any path', async (t) => {
    const admin = await started(t);
    for (const path of ['/', '/status', '/metrics', '/nodes/vm-b/status', '/nowhere']) {
      const answer = await ask(admin, path, { host: `evil.example:${admin.address.port}` });
      assert.equal(answer.status, 403, path);
      assert.equal(JSON.parse(answer.body).error, 'forbidden_host');
    }
    assert.equal((await ask(admin, '/status', { host: 'localhost' })).status, 200);
  });

  it('serves a dashboard whose own script and style are all that may run', async (t) => {
    const admin = await started(t);
    const { headers, body } = await ask(admin, '/');
    assert.match(String(headers['content-type']), /^text\/html/);
    const policy = String(headers['content-security-policy']);
    assert.match(policy, /script-src 'sha256-[A-Za-z0-9+/=]{44}';/);
    assert.doesNotMatch(policy, /unsafe/);
    assert.doesNotMatch(body, /\son\w+=|\sstyle=|https?:\/\/(?!orders\.mesh)/);
    const data = await ask(admin, '/status');
    assert.match(String(data.headers['content-security-policy']), /sandbox/);
  });
});

describe('admin listeners', () => {
  it('serves the same on a Unix socket of mode 0660, whatever the Host', async (t) => {
    const dir = await temporary(t);
    const socket = join(dir, 'admin.sock');
    const admin = await startAdmin(fakeSource(), { listen: LOOPBACK, socket, log });
    t.after(() => admin.close());
    assert.equal((await stat(socket)).mode & 0o777, 0o660);
    assert.equal((await ask(socket, '/status', { host: 'gatemesh' })).status, 200);
    await admin.close();
    await assert.rejects(stat(socket), { code: 'ENOENT' });
  });

  it('takes over a socket file that a dead process left', async (t) => {
    const socket = join(await temporary(t), 'admin.sock');
    // A process that is killed does not unlink its socket.
    const program = `require('net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`;
    const dead = join(socket, '..', 'dead.cjs');
    await writeFile(dead, program);
    await once(fork(dead, { stdio: 'ignore' }), 'exit');
    assert.ok((await stat(socket)).isSocket());
    const admin = await startAdmin(fakeSource(), { listen: LOOPBACK, socket, log });
    t.after(() => admin.close());
    assert.equal((await ask(socket, '/healthz')).status, 200);
  });

  it('leaves a socket alone on which somebody answers, and a file that is none', async (t) => {
    const dir = await temporary(t);
    const socket = join(dir, 'admin.sock');
    const other = createServer().listen(socket);
    t.after(() => other.close());
    await once(other, 'listening');
    await assert.rejects(startAdmin(fakeSource(), { listen: LOOPBACK, socket, log }), {
      code: 'admin_listen',
      message: `admin: cannot listen on ${socket} (in use); another program listens there: stop it (ss -lptn shows it) or change "admin" in the gateway file`,
    });
    const file = join(dir, 'file');
    await writeFile(file, 'precious');
    await assert.rejects(startAdmin(fakeSource(), { listen: LOOPBACK, socket: file, log }), {
      code: 'admin_listen',
      message: `admin: cannot listen on ${file} (there is a file that is not a socket); check "admin" in the gateway file`,
    });
  });

  it('says what to do when the port is taken', async (t) => {
    const first = await started(t);
    await assert.rejects(startAdmin(fakeSource(), { listen: first.address, log }), {
      code: 'admin_listen',
      message: /^admin: cannot listen on 127\.0\.0\.1:\d+ \(.*EADDRINUSE.*\); another program/,
    });
  });
});

async function temporary(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'gatemesh-admin-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}
