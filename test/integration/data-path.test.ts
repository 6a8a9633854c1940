import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { exchangeBytes, instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { eventually } from '../support/eventually.ts';
import { testPki } from '../support/pki.ts';

const pki = testPki();
const MATERIAL_A = {
  bundle: pki.bundle,
  svids: new Map([
    ['spiffe://mesh.internal/node/a', pki.svid('node', 'a')],
    ['spiffe://mesh.internal/svc/web', pki.svid('svc', 'web')],
  ]),
};
const MATERIAL_B = {
  bundle: pki.bundle,
  svids: new Map([
    ['spiffe://mesh.internal/node/b', pki.svid('node', 'b')],
    ['spiffe://mesh.internal/svc/orders', pki.svid('svc', 'orders')],
    ['spiffe://mesh.internal/svc/web', pki.svid('svc', 'web')],
  ]),
};

interface Origin {
  readonly port: number;
  readonly seen: http.IncomingMessage[];
  close(): void;
}

/** Answers with what it got: JSON of method, url, headers and body. `/size/N` answers N bytes, `/sum` the length of the body. */
async function startOrigin(): Promise<Origin> {
  const seen: http.IncomingMessage[] = [];
  const server = http.createServer((request, response) => {
    seen.push(request);
    const url = request.url ?? '';
    if (url.startsWith('/size/')) {
      request.resume();
      response.setHeader('content-length', Number(url.slice(6)));
      response.end(Buffer.alloc(Number(url.slice(6)), 'x'));
      return;
    }
    let length = 0;
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length < 100_000) chunks.push(chunk);
    });
    request.on('end', () => {
      if (url === '/hang') return;
      if (url === '/big-head') response.setHeader('x-big', 'x'.repeat(100_000));
      if (url === '/slow') {
        response.setHeader('x-request-id', String(request.headers['x-request-id']));
        setTimeout(() => response.end('late'), 700);
        return;
      }
      if (url === '/cut') {
        response.writeHead(200, { 'content-length': 100 });
        response.write('short');
        setImmediate(() => response.destroy());
        return;
      }
      if (url.startsWith('/status/')) response.statusCode = Number(url.slice(8));
      if (url === '/chunked') {
        response.setHeader('Trailer', 'x-sum');
        response.write('hello ');
        response.addTrailers({ 'x-sum': '11' });
        response.end('world');
        return;
      }
      const body = url === '/sum' ? String(length) : Buffer.concat(chunks).toString('latin1');
      response.end(JSON.stringify({ method: request.method, url, headers: request.headers, body }));
    });
  });
  server.on('upgrade', (request, socket) => {
    seen.push(request);
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    socket.on('data', (chunk) => socket.write(`echo ${chunk.toString('latin1')}`));
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly trailers: NodeJS.Dict<string>;
  readonly body: Buffer;
}

async function call(
  port: number,
  path: string,
  options: http.RequestOptions & {
    readonly body?: string | Buffer;
    readonly chunked?: boolean;
  } = {},
): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const { body, chunked, ...rest } = options;
    const request = http.request(
      { host: '127.0.0.1', port, path, ...rest, headers: { host: 'orders.mesh', ...rest.headers } },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          resolve({
            status: response.statusCode!,
            headers: response.headers,
            rawHeaders: response.rawHeaders,
            trailers: response.trailers,
            body: Buffer.concat(chunks),
          });
        });
      },
    );
    request.on('error', reject);
    if (chunked === true && body !== undefined) request.write(body);
    request.end(chunked === true ? undefined : body);
  });
}

describe('the data path', () => {
  let a: TestWorker;
  let b: TestWorker;
  let origin: Origin;
  let meshPort = 0;
  /** Two hops: a's egress, mTLS, b, origin. One hop: b's own egress, origin. */
  let egress: { readonly 'two hops': number; readonly 'one hop': number };

  const documents = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
    'nodes/b/instances/orders/o1': instance(meshPort, origin.port),
    ...more,
  });
  const apply = async (more?: Record<string, unknown>): Promise<void> => {
    await Promise.all([a.tables(documents(more)), b.tables(documents(more))]);
  };

  before(async () => {
    origin = await startOrigin();
    a = await startWorker('a');
    b = await startWorker('b');
    a.identity(MATERIAL_A);
    b.identity(MATERIAL_B);
    meshPort = await b.listen({ id: 'mesh', kind: 'mesh' });
    egress = {
      'two hops': await a.listen({ id: 'egress', kind: 'egress', as: 'web', to: undefined }),
      'one hop': await b.listen({ id: 'egress', kind: 'egress', as: undefined, to: undefined }),
    };
    await apply();
  });
  after(async () => {
    origin.close();
    await Promise.all([a.stop(), b.stop()]);
  });

  for (const hops of ['one hop', 'two hops'] as const) {
    describe(`over ${hops}`, () => {
      const json = async (...args: [path: string, options?: Parameters<typeof call>[2]]) =>
        JSON.parse((await call(egress[hops], ...args)).body.toString()) as {
          method: string;
          url: string;
          headers: Record<string, string>;
          body: string;
        };

      it('tells the service who calls, by which request and trace', async () => {
        const { headers, url } = await json('/who?x=1', {
          headers: { 'x-forwarded-client-cert': 'URI=forged' },
        });
        const caller = hops === 'two hops' ? 'svc/web' : 'node/b';
        assert.equal(url, '/who?x=1');
        assert.equal(headers['host'], 'orders.mesh');
        assert.equal(
          headers['x-forwarded-client-cert'],
          `By=spiffe://mesh.internal/svc/orders;URI=spiffe://mesh.internal/${caller}`,
        );
        assert.match(headers['x-request-id'] ?? '', /^[0-9a-f]{32}$/);
        assert.match(headers['traceparent'] ?? '', /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
        assert.equal(headers['x-forwarded-for'], '127.0.0.1');
        assert.equal(headers['x-forwarded-host'], 'orders.mesh');
        assert.equal(headers['x-forwarded-proto'], 'http');
        assert.equal(headers['x-gatemesh-instance'], undefined);
      });

      it('keeps a trace and an id that came along', async () => {
        const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
        const { headers } = await json('/', { headers: { traceparent, 'x-request-id': 'mine' } });
        assert.equal(headers['x-request-id'], 'mine');
        assert.match(headers['traceparent'] ?? '', /^00-a{32}-(?!b{16})[0-9a-f]{16}-01$/);
      });

      it('carries bodies of known length', async () => {
        const { body, method, headers } = await json('/', { method: 'POST', body: 'hello' });
        assert.deepEqual([method, body, headers['content-length']], ['POST', 'hello', '5']);
      });

      it('carries chunked bodies', async () => {
        const { body } = await json('/', { method: 'POST', body: 'hello', chunked: true });
        assert.equal(body, 'hello');
      });

      it('carries chunked answers with trailers', async () => {
        const { body, trailers, headers } = await call(egress[hops], '/chunked');
        assert.equal(body.toString(), 'hello world');
        assert.equal(headers['transfer-encoding'], 'chunked');
        assert.equal(trailers['x-sum'], '11');
      });

      for (const size of [0, 1, 16_384, 16_385, 131_073, 5_000_000]) {
        it(`carries ${size} bytes both ways`, async () => {
          const { body } = await call(egress[hops], `/size/${size}`);
          assert.equal(body.length, size);
          const up = await json('/sum', { method: 'PUT', body: Buffer.alloc(size, 'y') });
          assert.equal(up.body, String(size));
          const chunked = await json('/sum', {
            method: 'PUT',
            body: Buffer.alloc(size, 'y'),
            chunked: true,
          });
          assert.equal(chunked.body, String(size));
        });
      }

      it('answers HEAD with the length and no body', async () => {
        const { headers, body } = await call(egress[hops], '/size/10', { method: 'HEAD' });
        assert.equal(headers['content-length'], '10');
        assert.equal(body.length, 0);
      });

      it('passes on 204 and 304 without a body', async () => {
        for (const status of [204, 304]) {
          const answer = await call(egress[hops], `/status/${status}`);
          assert.deepEqual([answer.status, answer.body.length], [status, 0]);
        }
      });

      it('answers pipelined requests in order', async () => {
        const request = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: orders\r\n\r\n`;
        const received = await exchangeBytes(
          egress[hops],
          `${request('/1')}${request('/2')}GET /3 HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n`,
        );
        assert.deepEqual(
          [...received.matchAll(/"url":"([^"]+)"/g)].map((match) => match[1]),
          ['/1', '/2', '/3'],
        );
      });

      it('takes a head in pieces, and the next request behind it', async () => {
        const socket = net.connect(egress[hops], '127.0.0.1');
        let received = '';
        socket.on('data', (chunk) => (received += chunk.toString('latin1')));
        for (const byte of 'POST /x HTTP/1.1\r\nHost: orders\r\nContent-Length: 3\r\n\r\nabcGET /y HTTP/1.1\r\nHost: orders\r\n\r\n') {
          socket.write(byte);
          await new Promise((resolve) => setImmediate(resolve));
        }
        await eventually(() => assert.match(received, /"url":"\/x".*"body":"abc".*"url":"\/y"/s));
        socket.destroy();
      });

      it('answers a client that closes its half', async () => {
        const socket = net.connect({ port: egress[hops], host: '127.0.0.1', allowHalfOpen: true });
        socket.end('GET /half HTTP/1.1\r\nHost: orders\r\n\r\n');
        let received = '';
        for await (const chunk of socket) received += String(chunk);
        assert.match(received, /^HTTP\/1\.1 200 OK\r\n.*"url":"\/half"/s);
      });

      it('speaks HTTP/1.0', async () => {
        const received = await exchangeBytes(
          egress[hops],
          'GET /chunked HTTP/1.0\r\nHost: orders\r\n\r\n',
        );
        assert.match(received, /\r\nconnection: close\r\n\r\nhello world$/i);
      });

      it('says 100 Continue when the body is waited for', async () => {
        const received = await exchangeBytes(
          egress[hops],
          'POST / HTTP/1.1\r\nHost: orders\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n',
          () => true,
        );
        assert.match(received, /^HTTP\/1\.1 100 Continue\r\n\r\n/);
      });

      it('opens a tunnel for WebSocket', async () => {
        const socket = net.connect(egress[hops], '127.0.0.1');
        let received = '';
        socket.on('data', (chunk) => (received += chunk.toString('latin1')));
        socket.write(
          'GET /ws HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n',
        );
        await eventually(() => assert.match(received, /^HTTP\/1\.1 101 Switching Protocols\r\n/));
        socket.write('ping');
        await eventually(() => assert.match(received, /\r\n\r\necho ping$/));
        socket.end();
        await new Promise((resolve) => socket.once('close', resolve));
      });

      it('answers 404 NR for a host nobody knows', async () => {
        const { status, headers, body } = await call(egress[hops], '/', {
          headers: { host: 'nobody.mesh' },
        });
        assert.equal(status, 404);
        assert.equal(headers['x-gatemesh-reason'], 'NR');
        assert.equal(JSON.parse(body.toString()).error, 'no_route');
      });

      it('refuses CONNECT and TRACE', async () => {
        for (const line of ['CONNECT orders:80', 'TRACE /']) {
          const received = await exchangeBytes(
            egress[hops],
            `${line} HTTP/1.1\r\nHost: orders:80\r\n\r\n`,
            () => true,
          );
          assert.match(received, /^HTTP\/1\.1 40[05] /);
        }
      });

      it('answers 504 UT when the service does not', async () => {
        await apply({ 'config/services/orders': { timeout: '300ms' } });
        const { status, headers } = await call(egress[hops], '/hang');
        assert.deepEqual([status, headers['x-gatemesh-reason']], [504, 'UT']);
        await apply();
      });

      it('breaks off when the service breaks off in the middle of an answer', async () => {
        await assert.rejects(call(egress[hops], '/cut'), { code: 'ECONNRESET' });
      });

      it('goes on serving while one client does not read', async () => {
        const stalled = net.connect(egress[hops], '127.0.0.1');
        stalled.write('GET /size/50000000 HTTP/1.1\r\nHost: orders\r\n\r\n');
        stalled.pause();
        const before = await rssOf(a);
        for (let i = 0; i < 50; i++)
          assert.equal((await call(egress[hops], '/size/100')).status, 200);
        assert.ok(
          (await rssOf(a)) - before < 30_000_000,
          'a body nobody reads must not be held in memory',
        );
        stalled.destroy();
      });

      it("lets a route's own timeout win over the service's, and says the request's id once", async () => {
        await apply({
          'config/services/orders': { timeout: '300ms' },
          'config/routes/patient': { host: 'patient.example', to: 'orders', timeout: '10s' },
        });
        const { status, rawHeaders } = await call(egress[hops], '/slow', {
          headers: { host: 'patient.example', 'x-request-id': 'one' },
        });
        assert.equal(status, 200);
        const ids = rawHeaders.filter(
          (_, i) => rawHeaders[i - 1]?.toLowerCase() === 'x-request-id',
        );
        assert.deepEqual(ids, ['one']);
        await apply();
      });

      it('refuses a head no gateway takes, and nobody else notices', async () => {
        const others = Array.from({ length: 4 }, () => call(egress[hops], '/slow'));
        const { status, headers } = await call(egress[hops], '/big-head');
        assert.deepEqual([status, headers['x-gatemesh-reason']], [502, 'UC']);
        for (const other of await Promise.all(others)) assert.equal(other.status, 200);
      });

      it('answers 503 UH when no instance is healthy', async () => {
        await apply({
          'nodes/b/instances/orders/o1': instance(meshPort, origin.port, {
            health: 'failing',
          }),
        });
        const { status, headers } = await call(egress[hops], '/');
        assert.deepEqual([status, headers['x-gatemesh-reason']], [503, 'UH']);
        await apply();
      });

      it('answers 403 DENIED when an intention says so', async () => {
        await apply({ 'config/intentions/orders': { allow: ['cron'] } });
        const { status, headers } = await call(egress[hops], '/');
        assert.deepEqual([status, headers['x-gatemesh-reason']], [403, 'DENIED']);
        await apply({
          'config/intentions/orders': { allow: ['web', 'spiffe://mesh.internal/node/b'] },
        });
        assert.equal((await call(egress[hops], '/')).status, 200);
        await apply();
      });
    });
  }

  it("does not hand on a caller's name that it was given no certificate for", async () => {
    const seen = origin.seen.length;
    const port = await b.listen({ id: 'as cron', kind: 'egress', as: 'cron', to: undefined });
    const { status, headers } = await call(port, '/');
    assert.deepEqual([status, headers['x-gatemesh-reason']], [502, 'UF']);
    assert.equal(origin.seen.length, seen);
  });

  it('tries another instance when the first cannot be reached', async () => {
    const closed = await freePort();
    await apply({
      'nodes/b/instances/orders/dead': instance(meshPort, closed, { weight: 1000 }),
    });
    for (let i = 0; i < 20; i++) {
      for (const port of Object.values(egress)) {
        const { status } = await call(port, '/', { method: 'POST', body: 'again' });
        assert.equal(status, 200);
      }
    }
    await apply();
  });

  it("knows a calling service by its Unix user, and nobody else's calls carry its name", async (t) => {
    if (process.getuid?.() !== 0) {
      t.skip('needs root, to call as another user');
      return;
    }
    const as = async (uid: number): Promise<string> => {
      const script = `require('http').get({host:'127.0.0.1',port:${egress['one hop']},headers:{host:'orders'}},r=>r.pipe(process.stdout))`;
      const { stdout } = await promisify(execFile)(process.execPath, ['-e', script], { uid });
      return (
        (JSON.parse(stdout) as { headers: Record<string, string> }).headers[
          'x-forwarded-client-cert'
        ] ?? ''
      );
    };
    b.send({ type: 'callers', serviceByUid: new Map([[4711, 'web']]) });
    assert.match(await as(4711), /URI=spiffe:\/\/mesh\.internal\/svc\/web$/);
    assert.match(await as(4712), /URI=spiffe:\/\/mesh\.internal\/node\/b$/);
    b.send({ type: 'callers', serviceByUid: new Map() });
  });

  it('counts each request once, by what it was', async () => {
    const reply = await a.ask({ kind: 'metrics' });
    assert.ok(reply.kind === 'metrics');
    const served = reply.metrics.requests.filter(
      ({ reason, code }) => reason === '' && code === '200',
    );
    assert.ok(served.length > 0);
    for (const { direction, source, destination } of served) {
      assert.deepEqual([direction, source, destination], ['egress', 'web', 'orders']);
    }
    assert.equal(reply.metrics.activeRequests, 0);
  });

  it('swaps certificates under load without losing a request', async () => {
    let failed = 0;
    let done = false;
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const load = Array.from({ length: 8 }, async () => {
      while (!done) {
        const ok = await call(egress['two hops'], '/', { agent }).then(
          ({ status }) => status === 200,
          () => false,
        );
        if (!ok) failed++;
      }
    });
    for (let i = 0; i < 10; i++) {
      b.identity({
        bundle: pki.bundle,
        svids: new Map([['spiffe://mesh.internal/svc/orders', pki.svid('svc', 'orders')]]),
      });
      a.identity({
        bundle: pki.bundle,
        svids: new Map([['spiffe://mesh.internal/svc/web', pki.svid('svc', 'web')]]),
      });
      await call(egress['two hops'], '/size/1000000', { agent });
    }
    done = true;
    await Promise.all(load);
    agent.destroy();
    assert.equal(failed, 0);
  });

  describe('the mesh port', () => {
    const { evil } = pki;
    const peers = {
      'no certificate': undefined,
      'an expired certificate': evil.expired('svc', 'web'),
      'a certificate of another authority': evil.otherRoot('svc', 'web'),
      'a certificate of another trust domain': evil.wrongTrustDomain('svc', 'web'),
      'two names': evil.twoUris('svc', 'web'),
      'an authority certificate': evil.caTrue('svc', 'web'),
    };
    for (const [name, svid] of Object.entries(peers)) {
      it(`gives no byte to a peer with ${name}`, async () => {
        const before = origin.seen.length;
        const received = await new Promise<string>((resolve) => {
          let bytes = '';
          const socket = tls.connect({
            port: meshPort,
            host: '127.0.0.1',
            servername: 'orders.svc.mesh.internal',
            ca: pki.rootPem,
            ALPNProtocols: ['http/1.1'],
            checkServerIdentity: () => undefined,
            ...(svid === undefined ? {} : { cert: svid.certPem, key: svid.keyPem }),
          });
          socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nHost: orders\r\n\r\n'));
          socket.on('data', (chunk) => (bytes += chunk.toString('latin1')));
          socket.on('error', () => {});
          socket.on('close', () => resolve(bytes));
        });
        assert.equal(received, '');
        assert.equal(origin.seen.length, before);
      });
    }

    it('answers a SPIFFE client without a gateway', async () => {
      const web = pki.svid('svc', 'web');
      const received = await new Promise<string>((resolve, reject) => {
        let bytes = '';
        const socket = tls.connect({
          port: meshPort,
          host: '127.0.0.1',
          servername: 'orders.svc.mesh.internal',
          ca: pki.rootPem,
          cert: web.certPem,
          key: web.keyPem,
          ALPNProtocols: ['http/1.1'],
        });
        socket.on('secureConnect', () => {
          socket.write(
            'GET /direct HTTP/1.1\r\nHost: orders\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: close\r\n\r\n',
          );
        });
        socket.on('data', (chunk) => (bytes += chunk.toString('latin1')));
        socket.on('error', reject);
        socket.on('close', () => resolve(bytes));
      });
      assert.match(received, /URI=spiffe:\/\/mesh.internal\/svc\/web/);
      assert.match(received, /"x-forwarded-for":"127.0.0.1"/);
    });
  });
});

async function rssOf(worker: TestWorker): Promise<number> {
  const { readFile } = await import('node:fs/promises');
  const statm = await readFile(`/proc/${worker.child.pid}/statm`, 'utf8');
  return Number(statm.split(' ')[1]) * 4096;
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
