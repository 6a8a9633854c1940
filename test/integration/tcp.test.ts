import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import tls from 'node:tls';
import { FLAG_END, TYPE } from '../../gateway/worker/mux/frames.ts';
import { exchangeBytes, instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { eventually } from '../support/eventually.ts';
import { dialMux, frame, headFrame } from '../support/mux-peer.ts';
import { testPki } from '../support/pki.ts';

const pki = testPki();
const SHOP = pki.svid('svc', 'shop');
const MATERIAL_A = {
  bundle: pki.bundle,
  svids: new Map([
    ['spiffe://mesh.internal/node/a', pki.svid('node', 'a')],
    ['spiffe://mesh.internal/svc/web', pki.svid('svc', 'web')],
    ['spiffe://mesh.internal/edge/public', pki.svid('edge', 'public')],
  ]),
};
const MATERIAL_B = {
  bundle: pki.bundle,
  svids: new Map(
    [SHOP, pki.svid('svc', 'db'), pki.svid('svc', 'web'), pki.svid('node', 'b')].map((svid) => [
      svid.identity,
      svid,
    ]),
  ),
};

const MEGABYTE = Buffer.alloc(1_000_000, 'x');

/** A TCP server of the test's own, whose connections go to `serve` of the moment. */
class Origin {
  readonly connections: Socket[] = [];
  serve: (socket: Socket) => void = echo;
  readonly #server: net.Server;

  constructor(server: net.Server = net.createServer({ allowHalfOpen: true })) {
    this.#server = server;
    const event = server instanceof tls.Server ? 'secureConnection' : 'connection';
    server.on(event, (socket: Socket) => {
      socket.on('error', () => {});
      this.connections.push(socket);
      this.serve(socket);
    });
    server.on('tlsClientError', () => {});
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  /** Ends what a test has left open. */
  clear(): void {
    for (const socket of this.connections.splice(0)) socket.destroy();
    this.serve = echo;
  }

  stop(): void {
    this.clear();
    this.#server.close();
  }
}

/** Of the test that runs. */
const clients: Socket[] = [];

function echo(socket: Socket): void {
  socket.pipe(socket);
}

/** A client that may go on sending or reading when the other direction has ended. */
function dial(port: number): Socket & { text(): Promise<string>; outcome(): Promise<string> } {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  clients.push(socket);
  const failed = once(socket, 'error').then(([error]) => (error as NodeJS.ErrnoException).code!);
  return Object.assign(socket, {
    /** All that comes until the other side ends. */
    async text() {
      let text = '';
      for await (const chunk of socket.iterator({ destroyOnReturn: false })) text += String(chunk);
      return text;
    },
    /** `ended` or the error's code. */
    outcome: () => Promise.race([once(socket.resume(), 'end').then(() => 'ended'), failed]),
  });
}

describe('TCP', () => {
  let a: TestWorker;
  let b: TestWorker;
  let db: Origin;
  let shop: Origin;
  let web: http.Server;
  let meshPort = 0;
  /** Two hops: a's egress, mTLS, b, origin. One hop: b's own egress, origin. */
  let egress: { readonly 'two hops': number; readonly 'one hop': number };
  let webEgress = 0;
  let byPort = 0;
  let bySni = 0;

  const tcp = (port: number, more: object = {}): object =>
    instance(meshPort, port, { protocol: 'tcp', ...more });

  async function apply(more: Record<string, unknown> = {}): Promise<void> {
    const documents = {
      'config/gateways/public': {
        listeners: [
          { port: 5_432, protocol: 'tcp' },
          { port: 443, protocol: 'tls-passthrough' },
        ],
      },
      'config/services/db': { outlierDetection: { consecutive: 0 } },
      'config/tcp-routes/db': { gateways: ['public'], port: 5_432, to: 'db' },
      'config/tcp-routes/shop': {
        gateways: ['public'],
        port: 443,
        sni: '*.example.com',
        to: 'shop',
      },
      'nodes/b/instances/db/d1': tcp(db.port),
      'nodes/b/instances/shop/s1': tcp(shop.port),
      'nodes/b/instances/web/w1': instance(meshPort, (web.address() as AddressInfo).port),
      ...more,
    };
    await Promise.all([a.tables(documents), b.tables(documents)]);
  }

  /** How connections ended since the last call: `egress web db UH`. */
  const counted = new Map<TestWorker, Map<string, number>>();
  async function outcomes(worker: TestWorker): Promise<readonly string[]> {
    const reply = await worker.ask({ kind: 'metrics' });
    assert.ok(reply.kind === 'metrics');
    const before = counted.get(worker);
    const now = new Map(
      reply.metrics.requests.map(
        ({ direction, source, destination, route, code, reason, count }) => [
          [direction, source, destination, route, code, reason]
            .filter((text) => text !== '')
            .join(' '),
          count,
        ],
      ),
    );
    counted.set(worker, now);
    return [...now].filter(([key, count]) => count !== (before?.get(key) ?? 0)).map(([key]) => key);
  }

  async function settled(worker: TestWorker): Promise<void> {
    await eventually(async () => {
      const reply = await worker.ask({ kind: 'metrics' });
      assert.ok(reply.kind === 'metrics');
      assert.equal(reply.metrics.activeRequests, 0);
    });
  }

  before(async () => {
    db = await new Origin().start();
    shop = await new Origin(tls.createServer({ cert: SHOP.certPem, key: SHOP.keyPem })).start();
    web = http.createServer((request, response) => response.end(request.method));
    web.listen(0, '127.0.0.1');
    await once(web, 'listening');
    a = await startWorker('a');
    b = await startWorker('b');
    a.identity(MATERIAL_A);
    b.identity(MATERIAL_B);
    meshPort = await b.listen({ id: 'mesh', kind: 'mesh' });
    egress = {
      'two hops': await a.listen({ id: 'db', kind: 'egress', as: 'web', to: 'db' }),
      'one hop': await b.listen({ id: 'db', kind: 'egress', as: 'web', to: 'db' }),
    };
    webEgress = await a.listen({ id: 'any', kind: 'egress', as: 'web', to: undefined });
    const edge = { kind: 'edge-tcp', gateway: 'public' } as const;
    byPort = await a.listen({ id: 'edge 1', ...edge, port: 5_432, isTls: false });
    bySni = await a.listen({ id: 'edge 2', ...edge, port: 443, isTls: true });
    await apply();
  });
  after(async () => {
    db.stop();
    shop.stop();
    web.closeAllConnections();
    web.close();
    await Promise.all([a.stop(), b.stop()]);
  });
  beforeEach(async () => {
    await outcomes(a);
    await outcomes(b);
  });
  afterEach(async () => {
    for (const socket of clients.splice(0)) socket.destroy();
    db.clear();
    shop.clear();
    await settled(a);
    await settled(b);
  });

  for (const hops of ['one hop', 'two hops'] as const) {
    describe(`over ${hops}`, () => {
      const first = (): TestWorker => (hops === 'one hop' ? b : a);

      it('carries bytes both ways, whoever speaks first', async () => {
        db.serve = (socket) => {
          socket.write('hello ');
          echo(socket);
        };
        const client = dial(egress[hops]);
        assert.equal(String(await once(client, 'data')), 'hello ');
        client.end('world');
        assert.equal(await client.text(), 'world');
        await settled(first());
        assert.deepEqual(await outcomes(first()), ['egress web db']);
        if (hops === 'two hops') assert.deepEqual(await outcomes(b), ['ingress web db']);
      });

      it('counts bytes and time', async () => {
        const seen = async () => {
          const reply = await first().ask({ kind: 'metrics' });
          assert.ok(reply.kind === 'metrics');
          return reply.metrics.durations.find(({ destination }) => destination === 'db')!;
        };
        const before = await seen();
        db.serve = (socket) => void socket.end('12345');
        const client = dial(egress[hops]);
        client.end('123');
        assert.equal(await client.text(), '12345');
        await settled(first());
        const now = await seen();
        assert.equal(now.requestBytes - before.requestBytes, 3);
        assert.equal(now.responseBytes - before.responseBytes, 5);
        assert.ok(now.sum > before.sum);
      });

      it('lets the service answer after the client has ended', async () => {
        db.serve = (socket) => {
          let length = 0;
          socket.on('data', (chunk) => (length += chunk.length));
          socket.on('end', () => setImmediate(() => socket.end(`got ${length}`)));
        };
        const client = dial(egress[hops]);
        client.write(MEGABYTE);
        client.end(MEGABYTE);
        assert.equal(await client.text(), 'got 2000000');
      });

      it('lets the client send after the service has ended', async () => {
        let length = 0;
        let ended = false;
        db.serve = (socket) => {
          socket.end('enough');
          socket.on('data', (chunk) => (length += chunk.length));
          socket.on('end', () => (ended = true));
        };
        const client = dial(egress[hops]);
        assert.equal(await client.text(), 'enough');
        client.write(MEGABYTE);
        await eventually(() => assert.equal(length, 1_000_000));
        assert.equal(ended, false);
        client.end(MEGABYTE);
        await eventually(() => assert.deepEqual([length, ended], [2_000_000, true]));
        await settled(first());
        assert.deepEqual(await outcomes(first()), ['egress web db']);
      });

      it('takes a client that ends at once', async () => {
        db.serve = (socket) => void socket.resume().on('end', () => socket.end('bye'));
        const client = dial(egress[hops]);
        client.end();
        assert.equal(await client.text(), 'bye');
      });

      it('keeps all that is sent before the instance has taken the connection', async () => {
        const client = dial(egress[hops]);
        client.end(Buffer.alloc(300_000, 'y'));
        assert.equal((await client.text()).length, 300_000);
      });

      it('carries 50 MB both ways at once, in order', async () => {
        const client = dial(egress[hops]);
        const total = 50_000_000;
        const source = Buffer.alloc(
          1_000_003,
          Buffer.from(Uint8Array.from({ length: 251 }, (_, i) => i)),
        );
        let sent = 0;
        const send = (): void => {
          while (sent < total) {
            const piece = source.subarray(0, Math.min(source.length, total - sent));
            sent += piece.length;
            if (!client.write(piece)) return void client.once('drain', send);
          }
          client.end();
        };
        send();
        let received = 0;
        for await (const chunk of client as AsyncIterable<Buffer>) {
          const at = received % source.length;
          const until = Math.min(chunk.length, source.length - at);
          assert.ok(chunk.subarray(0, until).equals(source.subarray(at, at + until)));
          received += chunk.length;
        }
        assert.equal(received, total);
      });

      it('holds little for one who does not read, and goes on serving others', async () => {
        const sizes = [await rssOf(a), await rssOf(b)];
        const stalled = dial(egress[hops]);
        stalled.pause();
        for (let i = 0; i < 50; i++) stalled.write(MEGABYTE);
        for (let i = 0; i < 20; i++) {
          const client = dial(egress[hops]);
          client.end('quick');
          assert.equal(await client.text(), 'quick');
        }
        for (const [i, worker] of [a, b].entries()) {
          const grown = (await rssOf(worker)) - sizes[i]!;
          assert.ok(grown < 30_000_000, `${grown} bytes for a reader that has stalled`);
        }
        stalled.end();
        assert.equal((await stalled.text()).length, 50_000_000);
      });

      it('passes on that the client broke off', async () => {
        const closed = new Promise<string>((resolve) => {
          db.serve = (socket) => {
            socket.write('!');
            socket.on('error', ({ message }) => resolve(message));
            socket.on('end', () => resolve('a proper end'));
          };
        });
        const client = dial(egress[hops]);
        await once(client, 'data');
        client.resetAndDestroy();
        assert.match(await closed, /ECONNRESET/);
        await settled(first());
        assert.deepEqual(await outcomes(first()), ['egress web db DC']);
      });

      it('passes on that the service broke off', async () => {
        db.serve = (socket) => void socket.once('data', () => socket.resetAndDestroy());
        const client = dial(egress[hops]);
        client.write('x');
        assert.equal(await client.outcome(), 'ECONNRESET');
        await settled(first());
        assert.deepEqual(await outcomes(first()), ['egress web db UC']);
      });

      it('passes on that the service broke off after its last byte', async () => {
        db.serve = (socket) => {
          socket.end('half');
          socket.once('data', () => socket.resetAndDestroy());
        };
        const client = dial(egress[hops]);
        assert.equal(await client.text(), 'half');
        const broken = once(client, 'error');
        // Nobody reads behind an end: it is writing again that shows it.
        const beat = setInterval(() => client.write('x'), 20);
        assert.match(String((await broken)[0]), /ECONNRESET|EPIPE/);
        clearInterval(beat);
        await settled(first());
        assert.deepEqual(await outcomes(first()), ['egress web db UC']);
      });

      it('tries another instance when the first cannot be reached', async () => {
        await apply({ 'nodes/b/instances/db/dead': tcp(await freePort(), { weight: 1_000 }) });
        for (let i = 0; i < 20; i++) {
          const client = dial(egress[hops]);
          client.end('again');
          assert.equal(await client.text(), 'again');
        }
        await apply();
      });

      it('resets the client when no instance can be reached', async () => {
        await apply({ 'nodes/b/instances/db/d1': tcp(await freePort()) });
        assert.equal(await dial(egress[hops]).outcome(), 'ECONNRESET');
        assert.deepEqual(await outcomes(first()), ['egress web db UF']);
        await apply({ 'nodes/b/instances/db/d1': tcp(db.port, { health: 'failing' }) });
        assert.equal(await dial(egress[hops]).outcome(), 'ECONNRESET');
        assert.deepEqual(await outcomes(first()), ['egress web db UH']);
        await apply();
      });

      const intentions: readonly [rule: object, outcome: string][] = [
        [{ allow: ['cron'] }, 'ECONNRESET'],
        [{ allow: [{ from: 'web', methods: ['TCP'] }] }, 'ECONNRESET'],
        [{ allow: [{ from: 'web', path: '/' }] }, 'ECONNRESET'],
        [{ deny: ['web'] }, 'ECONNRESET'],
        [{ allow: ['web'] }, 'ended'],
      ];
      for (const [intention, outcome] of intentions) {
        it(`${outcome} by the intention ${JSON.stringify(intention)}`, async () => {
          const before = db.connections.length;
          await apply({ 'config/intentions/db': intention });
          const client = dial(egress[hops]);
          client.end('x');
          assert.equal(await client.outcome(), outcome);
          await settled(first());
          const wanted = outcome === 'ended' ? 'egress web db' : 'egress web db DENIED';
          assert.deepEqual(await outcomes(first()), [wanted]);
          assert.equal(db.connections.length - before, outcome === 'ended' ? 1 : 0);
          await apply();
        });
      }

      it('ends a connection on which nothing moves, and no other', async () => {
        await apply({ 'config/services/db': { idleTimeout: '1s', timeout: '100ms' } });
        const idle = dial(egress[hops]);
        const busy = dial(egress[hops]);
        const beat = setInterval(() => busy.write('x'), 200);
        assert.equal(await idle.outcome(), 'ECONNRESET');
        await new Promise((resolve) => setImmediate(resolve));
        assert.equal(busy.closed, false);
        clearInterval(beat);
        busy.end();
        assert.equal(await busy.outcome(), 'ended');
        await apply();
      });

      it('lets the other side go on when the service is away for a moment', async () => {
        const client = dial(egress[hops]);
        client.write('1');
        await once(client, 'data');
        await apply({ 'nodes/b/instances/db/d1': tcp(db.port, { state: 'draining' }) });
        client.end('2');
        assert.equal(await client.text(), '2');
        await apply();
      });
    });
  }

  it('loses nothing of a client whose Unix user is looked up first', async () => {
    const port = await b.listen({ id: 'by user', kind: 'egress', as: undefined, to: 'db' });
    b.send({ type: 'callers', serviceByUid: new Map([[4711, 'web']]) });
    for (const text of ['', 'all of it']) {
      const client = dial(port);
      client.end(text);
      assert.equal(await client.text(), text);
    }
    await settled(b);
    assert.deepEqual(await outcomes(b), ['egress node/b db']);
    b.send({ type: 'callers', serviceByUid: new Map() });
  });

  describe('and HTTP', () => {
    it('are told apart: a request to a TCP service is 502 UPE', async () => {
      const received = await exchangeBytes(
        webEgress,
        'GET / HTTP/1.1\r\nHost: db.mesh\r\nConnection: close\r\n\r\n',
      );
      assert.match(received, /^HTTP\/1\.1 502 .*x-gatemesh-reason: UPE\r\n/s);
      assert.match(received, /"error":"wrong_protocol"/);
    });

    it('are told apart: a connection to an HTTP service is reset', async () => {
      await apply({
        'config/services/db': { protocol: 'tcp' },
        'nodes/b/instances/db/d1': instance(meshPort, db.port),
      });
      assert.equal(await dial(egress['two hops']).outcome(), 'ECONNRESET');
      assert.deepEqual(await outcomes(a), ['egress web db UPE']);
      await apply();
    });

    it('are told apart where the service runs, when the caller knows less', async () => {
      await a.tables({
        'config/services/db': { protocol: 'tcp' },
        'nodes/b/instances/db/d1': tcp(db.port),
      });
      await b.tables({ 'nodes/b/instances/db/d1': instance(meshPort, db.port) });
      assert.equal(await dial(egress['two hops']).outcome(), 'ECONNRESET');
      assert.deepEqual(await outcomes(a), ['egress web db UPE']);
      await apply();
    });

    for (const line of ['TCP /', 'GET /']) {
      it(`are told apart: ${line} with the gateways' own word for TCP is a request`, async () => {
        const before = db.connections.length;
        for (const host of ['web', 'db']) {
          const received = await exchangeBytes(
            webEgress,
            `${line} HTTP/1.1\r\nHost: ${host}\r\nConnection: upgrade, close\r\nUpgrade: gatemesh-tcp\r\n\r\n`,
          );
          // The service's own parser knows no method TCP.
          const status = host === 'db' ? 502 : line === 'GET /' ? 200 : 400;
          assert.match(received, new RegExp(`^HTTP/1\\.1 ${status} `));
        }
        assert.equal(db.connections.length, before);
      });
    }
  });

  it('keeps nothing of a gateway that ends a connection before it is open', async () => {
    const head = 'TCP / HTTP/1.1\r\nhost: db\r\nconnection: upgrade\r\nupgrade: gatemesh-tcp\r\n';
    for (const frames of [
      [headFrame(1, head, '', FLAG_END)],
      [headFrame(1, head), frame(TYPE.end, 1, '')],
    ]) {
      db.serve = (socket) => socket.end();
      const peer = await dialMux(meshPort, pki, pki.svid('svc', 'web'), 'db');
      peer.send(...frames);
      // Its answer is a refusal or the end of its connection.
      await eventually(() => assert.ok(peer.isClosed || peer.frames.some(({ id }) => id === 1)));
      await settled(b);
      peer.socket.destroy();
    }
  });

  describe('at the edge', () => {
    it('goes by the port', async () => {
      const client = dial(byPort);
      client.end('hello');
      assert.equal(await client.text(), 'hello');
      await settled(a);
      assert.deepEqual(await outcomes(a), ['edge edge/public db db']);
      await settled(b);
      assert.deepEqual(await outcomes(b), ['ingress edge/public db']);
    });

    it('resets what no route answers for', async () => {
      await apply({ 'config/tcp-routes/db': { gateways: ['public'], port: 5_433, to: 'db' } });
      assert.equal(await dial(byPort).outcome(), 'ECONNRESET');
      assert.deepEqual(await outcomes(a), ['edge edge/public NR']);
      await apply();
    });

    const hello = (servername: string): Promise<tls.TLSSocket> =>
      new Promise((resolve, reject) => {
        const socket = tls.connect(
          { port: bySni, host: '127.0.0.1', servername, rejectUnauthorized: false },
          () => resolve(socket),
        );
        socket.on('error', reject);
      });

    it('goes by the server name, and leaves TLS to the service', async () => {
      const client = await hello('db.Example.com');
      assert.equal(client.getPeerX509Certificate()?.serialNumber.toLowerCase(), SHOP.serial);
      client.end('secret');
      assert.equal(String(await once(client, 'data')), 'secret');
      await settled(a);
      assert.deepEqual(await outcomes(a), ['edge edge/public shop shop']);
    });

    it('serves openssl', async () => {
      const output = await new Promise<string>((resolve) => {
        const target = ['-connect', `127.0.0.1:${bySni}`, '-servername', 'shop.example.com'];
        const child = execFile(
          'openssl',
          ['s_client', '-quiet', '-no_ign_eof', ...target],
          (_error, stdout) => resolve(stdout),
        );
        child.stdin!.write('by hand\n');
        child.stdout!.once('data', () => child.stdin!.end());
      });
      assert.equal(output, 'by hand\n');
    });

    it('carries much over TLS', async () => {
      const client = await hello('shop.example.com');
      for (let i = 0; i < 20; i++) client.write(MEGABYTE);
      let length = 0;
      for await (const chunk of client as AsyncIterable<Buffer>) {
        length += chunk.length;
        if (length === 20_000_000) client.end();
      }
      assert.equal(length, 20_000_000);
    });

    it('takes a ClientHello byte by byte', async () => {
      const relay = net.createServer({ noDelay: true }, (socket) => {
        const onward = net.connect({ port: bySni, host: '127.0.0.1', noDelay: true });
        for (const one of [socket, onward]) one.on('error', () => {});
        socket.on('data', (chunk: Buffer) => {
          for (const byte of chunk) onward.write(Buffer.of(byte));
        });
        onward.pipe(socket);
        socket.on('close', () => onward.destroy());
      });
      relay.listen(0, '127.0.0.1');
      await once(relay, 'listening');
      const { port } = relay.address() as AddressInfo;
      const options = { servername: 'shop.example.com', rejectUnauthorized: false };
      const client = tls.connect({ port, host: '127.0.0.1', ...options });
      client.write('slow');
      assert.equal(String(await once(client, 'data')), 'slow');
      client.destroy();
      relay.close();
    });

    it('resets a name that no route answers for', async () => {
      await assert.rejects(hello('example.org'), { code: 'ECONNRESET' });
      assert.deepEqual(await outcomes(a), ['edge edge/public NR']);
    });

    it('resets what is no TLS', async () => {
      const client = dial(bySni);
      client.write('GET / HTTP/1.1\r\n\r\n');
      assert.equal(await client.outcome(), 'ECONNRESET');
      assert.deepEqual(await outcomes(a), ['edge edge/public BAD']);
    });

    it('ends what stops in the middle of its ClientHello', async () => {
      const client = dial(bySni);
      client.end(Buffer.from([22, 3, 1, 0, 200, 1]));
      assert.equal(await client.outcome(), 'ECONNRESET');
      assert.deepEqual(await outcomes(a), ['edge edge/public BAD']);
    });
  });
});

async function rssOf(worker: TestWorker): Promise<number> {
  const statm = await readFile(`/proc/${worker.child.pid}/statm`, 'utf8');
  return Number(statm.split(' ')[1]) * 4096;
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
