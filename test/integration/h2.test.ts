import assert from 'node:assert/strict';
import http2, { type ClientHttp2Session, type OutgoingHttpHeaders } from 'node:http2';
import http from 'node:http';
import { type AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { exchangeBytes, instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { startGrpcOrigin, type GrpcOrigin } from '../support/grpc.ts';
import { testPki } from '../support/pki.ts';

const pki = testPki();
const MATERIAL_A = {
  bundle: pki.bundle,
  svids: new Map([
    ['spiffe://mesh.internal/node/a', pki.svid('node', 'a')],
    ['spiffe://mesh.internal/svc/web', pki.svid('svc', 'web')],
  ]),
};
const SERVICES = ['one', 'two', 'calc'];
const MATERIAL_B = {
  bundle: pki.bundle,
  svids: new Map([
    ['spiffe://mesh.internal/node/b', pki.svid('node', 'b')],
    ...SERVICES.map(
      (name) => [`spiffe://mesh.internal/svc/${name}`, pki.svid('svc', name)] as const,
    ),
  ]),
};

interface Origin {
  readonly port: number;
  close(): void;
}

const closing = (server: http.Server | http2.Http2Server, port: number): Origin => ({
  port,
  close() {
    if (server instanceof http.Server) server.closeAllConnections();
    server.close();
  },
});

/** The same answers over HTTP/1.1 or HTTP/2: JSON of what it got; see the paths. */
async function startOrigin(
  version: 1 | 2,
  sessions: http2.ServerHttp2Session[] = [],
): Promise<Origin> {
  const answer = (
    request: http.IncomingMessage | http2.Http2ServerRequest,
    response: http.ServerResponse & http2.Http2ServerResponse,
  ): void => {
    const url = request.url ?? '';
    if (url.startsWith('/size/')) {
      request.resume();
      response.end(Buffer.alloc(Number(url.slice(6)), 'x'));
      return;
    }
    if (url === '/hang') return;
    if (url === '/cut') {
      response.writeHead(200);
      response.write('short');
      setTimeout(() => (version === 1 ? request.socket.destroy() : response.stream.close(2)), 20);
      return;
    }
    if (url === '/hints') response.writeEarlyHints({ link: '</x.css>; rel=preload' });
    if (url.startsWith('/status/')) response.statusCode = Number(url.slice(8));
    if (url === '/cookies') response.setHeader('set-cookie', ['a=1', 'b=2']);
    let length = 0;
    request.on('data', (chunk: Buffer) => (length += chunk.length));
    request.on('end', () => {
      if (url === '/trailers') {
        response.setHeader('trailer', 'x-sum');
        response.write('hello');
        response.addTrailers({ 'x-sum': '5' });
        response.end();
        return;
      }
      response.end(
        JSON.stringify({
          version: request.httpVersion,
          method: request.method,
          url,
          headers: request.headers,
          trailers: request.trailers,
          length,
        }),
      );
    });
  };
  const server =
    version === 1 ? http.createServer(answer as never) : http2.createServer(answer as never);
  server.on('session', (session: http2.ServerHttp2Session) => sessions.push(session));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return closing(server, (server.address() as AddressInfo).port);
}

interface Answer {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly trailers: http2.IncomingHttpHeaders;
  readonly interim: readonly number[];
  readonly body: Buffer;
}

async function call(
  session: ClientHttp2Session,
  path: string,
  headers: OutgoingHttpHeaders = {},
  body?: Buffer,
  trailers?: OutgoingHttpHeaders,
): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const stream = session.request(
      { ':path': path, ':authority': 'one.mesh', ...headers },
      { endStream: body === undefined, waitForTrailers: trailers !== undefined },
    );
    const chunks: Buffer[] = [];
    const interim: number[] = [];
    let got: Answer | undefined;
    stream.on('wantTrailers', () => stream.sendTrailers(trailers!));
    stream.on('headers', (head) => interim.push(head[':status']!));
    stream.on('response', (head) => {
      got = {
        status: head[':status']!,
        headers: head,
        trailers: {},
        interim,
        body: Buffer.alloc(0),
      };
    });
    stream.on('trailers', (end) => (got = { ...got!, trailers: end }));
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('close', () => {
      if (got === undefined) reject(new Error(`closed with ${stream.rstCode}`));
      else resolve({ ...got, body: Buffer.concat(chunks) });
    });
    if (body !== undefined) stream.end(body);
  });
}

describe('HTTP/2', () => {
  let a: TestWorker;
  let b: TestWorker;
  const origins: Origin[] = [];
  const instanceSessions: http2.ServerHttp2Session[] = [];
  let grpc: GrpcOrigin;
  let meshPort = 0;
  let egress = { 'two hops': 0, 'one hop': 0 };
  let documents: Record<string, unknown>;

  const apply = async (more: Record<string, unknown> = {}): Promise<void> => {
    const all = { ...documents, ...more };
    await Promise.all([a.tables(all), b.tables(all)]);
  };

  before(async () => {
    origins.push(await startOrigin(1), await startOrigin(2, instanceSessions));
    grpc = await startGrpcOrigin();
    a = await startWorker('a');
    b = await startWorker('b');
    a.identity(MATERIAL_A);
    b.identity(MATERIAL_B);
    meshPort = await b.listen({ id: 'mesh', kind: 'mesh' });
    egress = {
      'two hops': await a.listen({ id: 'egress', kind: 'egress', as: 'web', to: undefined }),
      'one hop': await b.listen({ id: 'egress', kind: 'egress', as: undefined, to: undefined }),
    };
    documents = {
      'nodes/b/instances/one/i1': instance(meshPort, origins[0]!.port),
      'nodes/b/instances/two/i1': instance(meshPort, origins[1]!.port, { protocol: 'http2' }),
      'nodes/b/instances/calc/i1': instance(meshPort, grpc.port, { protocol: 'grpc' }),
    };
    await apply();
  });
  after(async () => {
    for (const session of instanceSessions) session.destroy();
    for (const origin of origins) origin.close();
    grpc?.close();
    await Promise.all([a?.stop(), b?.stop()]);
  });

  for (const hops of ['one hop', 'two hops'] as const) {
    for (const service of ['one', 'two'] as const) {
      describe(`with prior knowledge, over ${hops}, to an instance that speaks HTTP/${service === 'one' ? '1.1' : '2'}`, () => {
        let session: ClientHttp2Session;
        const to = { ':authority': `${service}.mesh` };
        before(() => {
          session = http2.connect(`http://127.0.0.1:${egress[hops]}`);
        });
        after(() => session.close());

        it('tells the service what it tells it over HTTP/1.1', async () => {
          const { status: code, body } = await call(session, '/who?x=1', {
            ...to,
            cookie: 'a=1',
            'x-mine': 'ä',
          });
          const seen = JSON.parse(body.toString()) as {
            version: string;
            url: string;
            headers: Record<string, string>;
          };
          assert.equal(code, 200);
          assert.equal(seen.version, service === 'one' ? '1.1' : '2.0');
          assert.equal(seen.url, '/who?x=1');
          assert.equal(seen.headers[service === 'one' ? 'host' : ':authority'], `${service}.mesh`);
          const caller = hops === 'two hops' ? 'svc/web' : 'node/b';
          assert.equal(
            seen.headers['x-forwarded-client-cert'],
            `By=spiffe://mesh.internal/svc/${service};URI=spiffe://mesh.internal/${caller}`,
          );
          assert.equal(seen.headers['cookie'], 'a=1');
          assert.equal(seen.headers['x-mine'], 'ä');
          assert.match(seen.headers['x-request-id'] ?? '', /^[0-9a-f]{32}$/);
        });

        for (const size of [0, 1, 16_384, 131_073, 3_000_000]) {
          it(`carries ${size} bytes both ways`, async () => {
            const down = await call(session, `/size/${size}`, to);
            assert.equal(down.body.length, size);
            const up = await call(
              session,
              '/',
              { ...to, ':method': 'POST' },
              Buffer.alloc(size, 'y'),
            );
            assert.equal(JSON.parse(up.body.toString()).length, size);
          });
        }

        it('carries trailers both ways', async () => {
          const down = await call(session, '/trailers', to);
          assert.equal(down.body.toString(), 'hello');
          assert.equal(down.trailers['x-sum'], '5');
          const up = await call(session, '/', { ...to, ':method': 'POST' }, Buffer.from('x'), {
            'x-end': 'yes',
          });
          assert.equal(JSON.parse(up.body.toString()).trailers['x-end'], 'yes');
        });

        it('answers HEAD, 204 and 304 without a body, and passes on two cookies and early hints', async () => {
          const head = await call(session, '/size/10', { ...to, ':method': 'HEAD' });
          assert.deepEqual([head.status, head.body.length], [200, 0]);
          for (const code of [204, 304]) {
            const none = await call(session, `/status/${code}`, to);
            assert.deepEqual([none.status, none.body.length], [code, 0]);
          }
          const cookies = await call(session, '/cookies', to);
          assert.deepEqual(cookies.headers['set-cookie'], ['a=1', 'b=2']);
          const hints = await call(session, '/hints', to);
          assert.deepEqual([hints.interim, hints.status], [[103], 200]);
        });

        it('says when an answer is not whole', async () => {
          await assert.rejects(call(session, '/cut', to), /NGHTTP2_INTERNAL_ERROR/);
        });

        it('carries 100 requests at once on one connection', async () => {
          const answers = await Promise.all(
            Array.from({ length: 100 }, (_, i) => call(session, `/n/${i}`, to)),
          );
          assert.deepEqual(
            answers.map(({ body }) => JSON.parse(body.toString()).url),
            answers.map((_, i) => `/n/${i}`),
          );
        });
      });
    }
  }

  it('is the same service to an HTTP/1.1 client', async () => {
    const received = await exchangeBytes(
      egress['two hops'],
      'POST /x HTTP/1.1\r\nHost: two.mesh\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nx-end: yes\r\n\r\n',
    );
    assert.match(received, /"version":"2\.0".*"trailers":\{"x-end":"yes"\},"length":3/);
  });
});
