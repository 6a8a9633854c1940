import assert from 'node:assert/strict';
import http2, { type ClientHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import tls from 'node:tls';
import { instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { eventually } from '../support/eventually.ts';
import { testPki } from '../support/pki.ts';
import { run } from '../support/processes.ts';

const pki = testPki();
const SHOP = pki.forge('svc', 'web', { dnsNames: ['shop.example.com'] });

/** An instance that speaks HTTP/2 and whose moods a test sets. */
interface H2Origin {
  readonly port: number;
  readonly sessions: Set<http2.ServerHttp2Session>;
  /** Most streams that were open on one connection at once. */
  most: number;
  /** Streams to be refused before the next is served. */
  refusals: number;
  readonly seen: http2.IncomingHttpHeaders[];
  close(): void;
}

async function startH2Origin(maxConcurrentStreams: number): Promise<H2Origin> {
  const server = http2.createServer({ settings: { maxConcurrentStreams } });
  const origin: H2Origin = {
    get port() {
      return (server.address() as AddressInfo).port;
    },
    sessions: new Set(),
    most: 0,
    refusals: 0,
    seen: [],
    close() {
      for (const session of origin.sessions) session.destroy();
      server.close();
    },
  };
  server.on('session', (session) => {
    let open = 0;
    origin.sessions.add(session);
    session.on('close', () => origin.sessions.delete(session));
    session.on('stream', (stream, headers) => {
      origin.most = Math.max(origin.most, ++open);
      stream.on('close', () => open--);
      stream.on('error', () => {});
      if (origin.refusals > 0) {
        origin.refusals--;
        stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
        return;
      }
      origin.seen.push(headers);
      stream.respond({ ':status': 200 });
      const wait = Number(/^\/wait\/(\d+)$/.exec(headers[':path']!)?.[1] ?? 0);
      setTimeout(() => stream.end('done'), wait);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return origin;
}

/** Status and body; rejects when the stream is reset. */
async function call(
  session: ClientHttp2Session,
  path: string,
  method = 'GET',
  authority = 'orders.mesh',
): Promise<readonly [status: number, body: string]> {
  return await new Promise((resolve, reject) => {
    const stream = session.request({ ':path': path, ':method': method, ':authority': authority });
    let code = 0;
    let body = '';
    stream.on('response', (head) => (code = head[':status']!));
    stream.on('data', (chunk: Buffer) => (body += chunk.toString()));
    stream.on('error', reject);
    stream.on('end', () => (code === 0 ? reject(new Error('no answer')) : resolve([code, body])));
    stream.end(method === 'POST' ? 'body' : undefined);
  });
}

describe('HTTP/2 with', () => {
  let worker: TestWorker;
  let origin: H2Origin;
  let egress = 0;
  let mesh = 0;
  let edge = 0;

  const apply = async (more: Record<string, unknown> = {}): Promise<void> => {
    await worker.tables({
      'nodes/b/instances/orders/o1': instance(mesh, origin.port, { protocol: 'http2' }),
      'config/routes/shop': { host: 'shop.example.com', gateways: ['public'], to: 'orders' },
      ...more,
    });
  };
  const connect = (port: number, options: tls.ConnectionOptions = {}): ClientHttp2Session => {
    const socket = tls.connect({
      host: '127.0.0.1',
      port,
      ca: pki.rootPem,
      ALPNProtocols: ['h2'],
      checkServerIdentity: () => undefined,
      ...options,
    });
    const session = http2.connect('https://mesh', { createConnection: () => socket });
    session.on('error', () => {});
    return session;
  };

  before(async () => {
    origin = await startH2Origin(5);
    worker = await startWorker('b');
    worker.identity({
      bundle: pki.bundle,
      svids: new Map([
        ['spiffe://mesh.internal/node/b', pki.svid('node', 'b')],
        ['spiffe://mesh.internal/edge/public', pki.svid('edge', 'public')],
        ['spiffe://mesh.internal/svc/orders', pki.svid('svc', 'orders')],
      ]),
    });
    mesh = await worker.listen({ id: 'mesh', kind: 'mesh' });
    egress = await worker.listen({ id: 'egress', kind: 'egress', as: undefined, to: undefined });
    edge = await worker.listen({
      id: 'edge',
      kind: 'edge',
      gateway: 'public',
      protocol: 'https',
      certificates: [{ hosts: ['shop.example.com'], certPem: SHOP.certPem, keyPem: SHOP.keyPem }],
      tlsMin: '1.2',
      trustedProxies: [],
    });
    await apply();
  });
  after(async () => {
    origin?.close();
    await worker?.stop();
  });

  describe('an instance', () => {
    let session: ClientHttp2Session;
    before(() => {
      session = http2.connect(`http://127.0.0.1:${egress}`);
    });
    after(() => session.close());

    it('that takes 5 streams a connection gets more connections', async () => {
      await call(session, '/');
      const answers = await Promise.all(
        Array.from({ length: 40 }, () => call(session, '/wait/50')),
      );
      assert.deepEqual(new Set(answers.map(([code]) => code)), new Set([200]));
      assert.ok(origin.most <= 5, `${origin.most} streams at once on one connection`);
      assert.ok(origin.sessions.size >= 8);
    });

    it('that refuses a stream is asked again, also with POST', async () => {
      origin.refusals = 1;
      assert.deepEqual(await call(session, '/', 'POST'), [200, 'done']);
      origin.refusals = 2;
      const [code, body] = await call(session, '/', 'POST');
      origin.refusals = 0;
      assert.deepEqual([code, JSON.parse(body).reason], [502, 'UF']);
    });

    it('that says GOAWAY finishes what it has, and the rest goes elsewhere', async () => {
      const under = call(session, '/wait/200');
      await eventually(() => assert.ok(origin.seen.at(-1)?.[':path'] === '/wait/200'));
      for (const open of origin.sessions) open.close();
      assert.deepEqual(await call(session, '/after'), [200, 'done']);
      assert.deepEqual(await under, [200, 'done']);
    });

    it('whose connection breaks fails what was under way, and is reached again', async () => {
      const under = call(session, '/wait/5000', 'POST');
      await eventually(() => assert.ok(origin.seen.at(-1)?.[':path'] === '/wait/5000'));
      for (const open of origin.sessions) open.destroy();
      await assert.rejects(under, /NGHTTP2_INTERNAL_ERROR/);
      assert.deepEqual(await call(session, '/after'), [200, 'done']);
    });

    it('that speaks no HTTP/2 is 502', async () => {
      const { createServer } = await import('node:http');
      const plain = createServer((_request, response) => response.end());
      await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
      const { port } = plain.address() as AddressInfo;
      await apply({
        'nodes/b/instances/orders/o1': instance(mesh, port, { protocol: 'http2' }),
      });
      const [code, body] = await call(session, '/');
      assert.deepEqual([code, JSON.parse(body).reason], [502, 'UC']);
      // The same addresses with the protocol put right: no connection of before is used.
      await apply({ 'nodes/b/instances/orders/o1': instance(mesh, port) });
      assert.deepEqual(await call(session, '/'), [200, '']);
      plain.close();
      await apply();
    });

    it('that is asked for a WebSocket answers as without', async () => {
      const { stdout } = await run('curl', [
        '-sS',
        '-m',
        '5',
        '-H',
        'host: orders.mesh',
        '-H',
        'connection: upgrade',
        '-H',
        'upgrade: websocket',
        `http://127.0.0.1:${egress}/`,
      ]);
      assert.equal(stdout, 'done');
    });
  });

  it("curl's prior knowledge", async () => {
    const { stdout } = await run('curl', [
      '-sS',
      '-m',
      '5',
      '--http2-prior-knowledge',
      '-H',
      'host: orders.mesh',
      '-w',
      ' %{http_version}',
      `http://127.0.0.1:${egress}/`,
    ]);
    assert.equal(stdout, 'done 2');
  });

  it('a client that waits for 100 Continue', async () => {
    const session = http2.connect(`http://127.0.0.1:${egress}`);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/',
      ':authority': 'orders.mesh',
      expect: '100-continue',
    });
    stream.on('continue', () => stream.end('body'));
    let body = '';
    for await (const chunk of stream) body += String(chunk);
    assert.equal(body, 'done');
    assert.equal(origin.seen.at(-1)!['expect'], undefined);
    session.close();
  });

  it('a preface in pieces', async () => {
    const { connect: dial } = await import('node:net');
    const socket = dial(egress, '127.0.0.1');
    let received = '';
    socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
    const bytes = Buffer.concat([
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    ]);
    for (const byte of bytes) {
      socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    // SETTINGS, and the acknowledgement of ours.
    await eventually(() => assert.match(received, /\0\0\0\x04\x01\0\0\0\0/));
    socket.destroy();
  });

  describe('the edge', () => {
    it('is agreed by ALPN, and nothing a stranger says about himself gets in', async () => {
      const session = connect(edge, { servername: 'shop.example.com' });
      const stream = session.request({
        ':path': '/',
        ':authority': 'shop.example.com',
        'x-forwarded-for': '9.9.9.9',
        'x-gatemesh-instance': 'x',
        x_real_ip: '9.9.9.9',
        'x-forwarded-client-cert': 'URI=forged',
      });
      stream.resume();
      await new Promise((resolve) => stream.on('end', resolve));
      session.close();
      const seen = origin.seen.at(-1)!;
      assert.equal(seen['x-forwarded-for'], '127.0.0.1');
      assert.equal(seen['x-forwarded-proto'], 'https');
      assert.equal(seen['x-gatemesh-instance'], undefined);
      assert.equal(seen['x_real_ip'], undefined);
      assert.doesNotMatch(String(seen['x-forwarded-client-cert']), /forged/);
    });

    it('serves HTTP/1.1 to who asks for it, and no HTTP/2 without ALPN', async () => {
      const received = await new Promise<string>((resolve, reject) => {
        let bytes = '';
        const socket = tls.connect({
          host: '127.0.0.1',
          port: edge,
          ca: pki.rootPem,
          servername: 'shop.example.com',
          ALPNProtocols: ['http/1.1'],
          checkServerIdentity: () => undefined,
        });
        socket.on('data', (chunk: Buffer) => (bytes += chunk.toString('latin1')));
        socket.on('error', reject);
        socket.on('close', () => resolve(bytes));
        socket.write(
          'GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
        );
      });
      assert.match(received, /^HTTP\/1\.1 200 OK\r\n.*HTTP\/1\.1 505 /s);
    });

    it('says 404 NR for a host it does not serve', async () => {
      const session = connect(edge, { servername: 'shop.example.com' });
      const [code, body] = await call(session, '/', 'GET', 'other.example.com');
      session.close();
      assert.deepEqual([code, JSON.parse(body).reason], [404, 'NR']);
    });
  });

  describe('the mesh port', () => {
    const servername = 'orders.svc.mesh.internal';

    it('serves a SPIFFE client, by the same intentions', async () => {
      const web = pki.svid('svc', 'web');
      const session = connect(mesh, { servername, cert: web.certPem, key: web.keyPem });
      assert.deepEqual(await call(session, '/direct'), [200, 'done']);
      assert.equal(
        origin.seen.at(-1)!['x-forwarded-client-cert'],
        'By=spiffe://mesh.internal/svc/orders;URI=spiffe://mesh.internal/svc/web',
      );
      await apply({ 'config/intentions/orders': { allow: ['cron'] } });
      const [code, body] = await call(session, '/direct');
      assert.deepEqual([code, JSON.parse(body).reason], [403, 'DENIED']);
      await apply();
      session.close();
    });

    it('gives no byte to a client without a certificate, or with a wrong one', async () => {
      const before = origin.seen.length;
      for (const svid of [
        undefined,
        pki.evil.otherRoot('svc', 'web'),
        pki.evil.twoUris('svc', 'web'),
      ]) {
        const own = svid === undefined ? {} : { cert: svid.certPem, key: svid.keyPem };
        const session = connect(mesh, { servername, ...own });
        await assert.rejects(call(session, '/'));
        session.destroy();
      }
      assert.equal(origin.seen.length, before);
    });
  });

  it('a worker that is told to stop: GOAWAY, and what is under way gets its answer', async () => {
    const session = http2.connect(`http://127.0.0.1:${egress}`);
    const idle = http2.connect(`http://127.0.0.1:${egress}`);
    await Promise.all([call(session, '/'), call(idle, '/')]);
    const goaway = new Promise((resolve) => session.once('goaway', resolve));
    const idleClosed = new Promise((resolve) => idle.once('close', resolve));
    const under = call(session, '/wait/400');
    await eventually(() => assert.ok(origin.seen.at(-1)?.[':path'] === '/wait/400'));
    const gone = new Promise((resolve) => worker.child.once('exit', resolve));
    worker.send({ type: 'drain', graceMs: 5_000 });
    await Promise.all([goaway, idleClosed]);
    assert.deepEqual(await under, [200, 'done']);
    await gone;
  });
});
