import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';
import { exchangeBytes, instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { eventually } from '../support/eventually.ts';
import { testPki } from '../support/pki.ts';
import { startRawOrigin, type RawOrigin } from '../support/raw-origin.ts';

const pki = testPki();
const OK = 'HTTP/1.1 200 OK\r\n';
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: orders\r\n\r\n';

/** What the origin sends for a path; `undefined` closes after what was sent. */
const EVIL: Readonly<Record<string, { readonly bytes: string; readonly closes?: boolean }>> = {
  '/cl-te': { bytes: `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n` },
  '/two-lengths': { bytes: `${OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!` },
  '/te-other': { bytes: `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n` },
  '/te-http10': { bytes: 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' },
  '/negative': { bytes: `${OK}Content-Length: -1\r\n\r\n` },
  '/fold': { bytes: `${OK}a: b\r\n c\r\nContent-Length: 0\r\n\r\n` },
  '/bare-lf': { bytes: `${OK}a: b\nc: d\r\nContent-Length: 0\r\n\r\n` },
  '/no-http': { bytes: 'SSH-2.0-x\r\n\r\n' },
  '/http2': { bytes: 'HTTP/2 200 OK\r\n\r\n' },
  '/unasked-101': { bytes: 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nxx' },
  '/1xx-body': { bytes: `HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nabc${OK}\r\n` },
  '/1xx-chunked': {
    bytes: `HTTP/1.1 103 A\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${OK}\r\n`,
  },
  '/1xx-flood': { bytes: 'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n'.repeat(1000) },
  '/endless-head': { bytes: `${OK}${'x-a: bbbbbbbbbbbbbbbbbbbbbbb\r\n'.repeat(10_000)}` },
  '/long-line': { bytes: `${OK}x-a: ${'b'.repeat(200_000)}` },
  '/nothing': { bytes: '', closes: true },
  '/half-head': { bytes: `${OK}Content-Le`, closes: true },
};

async function activeRequests(worker: TestWorker): Promise<number> {
  const reply = await worker.ask({ kind: 'metrics' });
  assert.ok(reply.kind === 'metrics');
  return reply.metrics.activeRequests;
}

async function filesOf(worker: TestWorker): Promise<number> {
  const { readdir } = await import('node:fs/promises');
  return (await readdir(`/proc/${worker.child.pid}/fd`)).length;
}

async function rssOf(worker: TestWorker): Promise<number> {
  const statm = await readFile(`/proc/${worker.child.pid}/statm`, 'utf8');
  return Number(statm.split(' ')[1]) * 4096;
}

describe('clients and services that misbehave', () => {
  let a: TestWorker;
  let b: TestWorker;
  let origin: RawOrigin;
  let egress: { readonly 'two hops': number; readonly 'one hop': number };

  before(async () => {
    origin = await startRawOrigin(({ head }, socket) => {
      const [method = '', path = ''] = head.split(' ');
      const evil = EVIL[path];
      if (evil !== undefined) {
        socket.write(evil.bytes);
        if (evil.closes === true) socket.destroy();
        return undefined;
      }
      if (path === '/hang') return undefined;
      if (path === '/die') {
        socket.destroy();
        return undefined;
      }
      if (path === '/half') return `${OK}Content-Length: 1000000\r\n\r\n${'x'.repeat(1000)}`;
      if (path === '/cut') {
        socket.end(`${OK}Content-Length: 100\r\n\r\nshort`);
        return undefined;
      }
      if (path === '/cut-chunks') {
        socket.end(`${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`);
        return undefined;
      }
      if (path === '/extra')
        return `${OK}Content-Length: 2\r\n\r\nok${OK}Content-Length: 6\r\n\r\npoison`;
      if (path === '/head-body') return `${OK}Content-Length: 6\r\n\r\npoison`;
      if (path === '/204-body') return 'HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison';
      if (path === '/big')
        return Buffer.from(`${OK}Content-Length: 300000\r\n\r\n${'x'.repeat(300_000)}`);
      const line = `${method} ${path}`;
      return `${OK}Content-Length: ${line.length}\r\n\r\n${method === 'HEAD' ? '' : line}`;
    });
    a = await startWorker('a');
    b = await startWorker('b');
    a.identity({
      bundle: pki.bundle,
      svids: new Map([
        ['spiffe://mesh.internal/node/a', pki.svid('node', 'a')],
        ['spiffe://mesh.internal/svc/web', pki.svid('svc', 'web')],
      ]),
    });
    b.identity({
      bundle: pki.bundle,
      svids: new Map([
        ['spiffe://mesh.internal/node/b', pki.svid('node', 'b')],
        ['spiffe://mesh.internal/svc/orders', pki.svid('svc', 'orders')],
      ]),
    });
    const meshPort = await b.listen({ id: 'mesh', kind: 'mesh' });
    egress = {
      'two hops': await a.listen({ id: 'egress', kind: 'egress', as: 'web', to: undefined }),
      'one hop': await b.listen({ id: 'egress', kind: 'egress', as: undefined, to: undefined }),
    };
    const documents = {
      'nodes/b/instances/orders/o1': instance(meshPort, origin.port),
      'config/services/orders': {
        timeout: '5s',
        retry: { attempts: 0 },
        outlierDetection: { consecutive: 0 },
      },
    };
    await Promise.all([a.tables(documents), b.tables(documents)]);
  });
  beforeEach(() => origin.forget());
  after(async () => {
    origin.close();
    await Promise.all([a.stop(), b.stop()]);
  });

  const get = (path: string, fields = 'Connection: close\r\n'): string =>
    `GET ${path} HTTP/1.1\r\nHost: orders\r\n${fields}\r\n`;

  for (const hops of ['one hop', 'two hops'] as const) {
    describe(`over ${hops}`, () => {
      /** Nothing is under way any more, and the next client gets its own answer. */
      const assertWell = async (): Promise<void> => {
        await eventually(async () => {
          assert.deepEqual([await activeRequests(a), await activeRequests(b)], [0, 0]);
        });
        for (const path of ['/canary/1', '/canary/2', '/canary/3']) {
          assert.match(
            await exchangeBytes(egress[hops], get(path)),
            new RegExp(`^HTTP/1\\.1 200 OK\\r\\n.*\\r\\n\\r\\nGET ${path}$`, 's'),
          );
        }
      };

      for (const path of Object.keys(EVIL)) {
        it(`answers 502 for a service that sends ${path.slice(1)}`, async () => {
          const received = await exchangeBytes(egress[hops], get(path));
          assert.match(
            received,
            /^(?:HTTP\/1\.1 103 Early Hints\r\nlink: x\r\n\r\n)*HTTP\/1\.1 502 .*"reason":"UC"/s,
          );
          await assertWell();
        });
      }

      it('lets no byte behind an answer reach the next one', async () => {
        for (const [line, expected] of [
          ['GET /extra', /\r\n\r\nok$/],
          ['HEAD /head-body', /\r\n\r\n$/],
          ['GET /204-body', /\r\n\r\n$/],
        ] as const) {
          for (let i = 0; i < 5; i++) {
            const received = await exchangeBytes(
              egress[hops],
              `${line} HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n`,
            );
            assert.match(received, expected);
            assert.doesNotMatch(received, /poison/);
          }
          await assertWell();
        }
      });

      it('puts nothing on a connection behind a body that servers may not read', async () => {
        for (const method of ['GET', 'HEAD', 'DELETE']) {
          for (const body of [
            `Content-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
            `Transfer-Encoding: chunked\r\n\r\n${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`,
          ]) {
            origin.forget();
            await exchangeBytes(
              egress[hops],
              `${method} /body HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n${body}`,
            );
            const [first] = origin.requests;
            assert.match(first?.head ?? '', /\r\nconnection: close\r\n/);
            assert.equal(first?.body, SMUGGLED);
            await exchangeBytes(egress[hops], get('/next'));
            const next = origin.requests.at(-1)!;
            assert.match(next.head, /^GET \/next /);
            assert.notEqual(next.connection, first?.connection);
          }
        }
      });

      it('forgets clients that leave at any moment', async () => {
        const files = [await filesOf(a), await filesOf(b)];
        const stages = [
          'GET /canary HTT',
          get('/hang', ''),
          get('/half', ''),
          get('/big', ''),
          'POST /x HTTP/1.1\r\nHost: orders\r\nContent-Length: 100000\r\n\r\nabc',
          'POST /x HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab',
          `${get('/hang', '')}${get('/pipelined', '')}`,
          `${get('/one', '')}${get('/hang', '')}`,
          'GET /hang HTTP/1.1\r\nHost: orders\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
          'POST /x HTTP/1.1\r\nHost: orders\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n',
        ];
        const leave = async (
          bytes: string,
          how: 'destroy' | 'reset',
          ms: number,
        ): Promise<void> => {
          const socket = net.connect(egress[hops], '127.0.0.1');
          socket.on('error', () => {});
          await new Promise((resolve) => socket.once('connect', resolve));
          socket.write(bytes);
          await new Promise((resolve) => setTimeout(resolve, ms));
          if (how === 'reset') socket.resetAndDestroy();
          else socket.destroy();
        };
        for (let round = 0; round < 20; round++) {
          await Promise.all(
            Array.from({ length: 110 }, (_, i) =>
              leave(
                stages[i % stages.length]!,
                i % 3 === 0 ? 'reset' : 'destroy',
                (i * 7 + round) % 30,
              ),
            ),
          );
        }
        await assertWell();
        await eventually(async () => {
          const now = [await filesOf(a), await filesOf(b)];
          assert.ok(
            now[0]! < files[0]! + 30 && now[1]! < files[1]! + 60,
            `${files.join()} -> ${now.join()}`,
          );
        });
      });

      it('tells the client when a service dies, whatever was under way', async () => {
        const big = `POST /die HTTP/1.1\r\nHost: orders\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n`;
        assert.match(
          await exchangeBytes(egress[hops], get('/die')),
          /^HTTP\/1\.1 502 .*"reason":"UC"/s,
        );
        assert.match(
          await exchangeBytes(egress[hops], big + 'x'.repeat(1000)),
          /^HTTP\/1\.1 502 .*"reason":"UC"/s,
        );
        const cut = await exchangeBytes(egress[hops], get('/cut')).catch(
          (error: Error) => error.message,
        );
        assert.doesNotMatch(cut, /"error"/);
        await assertWell();
      });

      it('resets where the end of the connection would look like the end of the answer', async () => {
        const request = 'GET /cut-chunks HTTP/1.0\r\nHost: orders\r\n\r\n';
        await assert.rejects(exchangeBytes(egress[hops], request), /ECONNRESET/);
        await assertWell();
      });

      it('holds no answers for a client that asks and does not read', async () => {
        const worker = hops === 'one hop' ? b : a;
        const before = await rssOf(worker);
        for (const request of [
          'GET / HTTP/1.1\r\nHost: nobody\r\n\r\n'.repeat(2000),
          get('/x', '').repeat(2000),
        ]) {
          const socket = net.connect(egress[hops], '127.0.0.1');
          socket.on('error', () => {});
          socket.pause();
          for (let sent = 0; sent < 60_000_000; sent += request.length) {
            if (socket.write(request)) continue;
            const flowed = await Promise.race([
              new Promise((resolve) => socket.once('drain', () => resolve(true))),
              new Promise((resolve) => setTimeout(() => resolve(false), 700)),
            ]);
            if (flowed === false) break;
          }
          const grown = (await rssOf(worker)) - before;
          assert.ok(grown < 100_000_000, `${Math.round(grown / 1e6)} MB are held`);
          let received = 0;
          socket.on('data', (chunk) => (received += chunk.length));
          socket.resume();
          // It reads after all, and all goes on.
          await eventually(() => assert.ok(received > 500_000, `${received} bytes came`));
          socket.destroy();
        }
        await assertWell();
      });

      it('takes pipelined requests in the order they came, however many lie waiting', async () => {
        const bodies = Array.from({ length: 400 }, (_, i) => `${i}:`.padEnd(997, 'x'));
        const requests = bodies.map(
          (body, i) => `POST /p${i} HTTP/1.1\r\nHost: orders\r\nContent-Length: 997\r\n\r\n${body}`,
        );
        const received = await exchangeBytes(egress[hops], requests.join('') + get('/last'));
        assert.match(received, /GET \/last$/);
        assert.deepEqual(
          origin.requests.slice(0, 400).map(({ body }) => body),
          bodies,
        );
      });

      it('lets a client that closes read its answer as slowly as it likes', async () => {
        const socket = net.connect(egress[hops], '127.0.0.1');
        socket.on('error', () => {});
        let received = 0;
        // Several times what the kernel takes for us, so that the end waits here and not there.
        socket.write(`${get('/big', '').repeat(39)}${get('/big')}`);
        socket.on('data', (chunk) => (received += chunk.length));
        await eventually(() => assert.ok(received > 0));
        socket.pause();
        await new Promise((resolve) => setTimeout(resolve, 6500));
        socket.resume();
        await new Promise((resolve) => socket.once('close', resolve));
        assert.ok(received > 40 * 300_000, `${received} bytes came`);
      });
    });
  }
});
