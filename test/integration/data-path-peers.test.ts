import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';
import { FLAG_ACK, FLAG_END, MAX_PAYLOAD_BYTES, TYPE } from '../../gateway/worker/mux/frames.ts';
import { exchangeBytes, instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { eventually } from '../support/eventually.ts';
import {
  dialMux,
  frame,
  get,
  headFrame,
  numberFrame,
  settingsFrame,
  startMuxCallee,
  type MuxPeer,
  type SeenFrame,
} from '../support/mux-peer.ts';
import { testPki } from '../support/pki.ts';
import { startRawOrigin, type RawOrigin } from '../support/raw-origin.ts';

const pki = testPki();
const EVIL = pki.svid('svc', 'evil');
const NODE_B = pki.svid('node', 'b');
const ORDERS = pki.svid('svc', 'orders');

async function activeRequests(worker: TestWorker): Promise<number> {
  const reply = await worker.ask({ kind: 'metrics' });
  assert.ok(reply.kind === 'metrics');
  return reply.metrics.activeRequests;
}

async function rssOf(worker: TestWorker): Promise<number> {
  const statm = await readFile(`/proc/${worker.child.pid}/statm`, 'utf8');
  return Number(statm.split(' ')[1]) * 4096;
}

const POST = 'POST /up HTTP/1.1\r\nhost: orders\r\n';
const SMUGGLED =
  'GET /smuggled HTTP/1.1\r\nhost: orders\r\nx-forwarded-client-cert: URI=spiffe://mesh.internal/svc/admin\r\n\r\n';

describe('a hostile caller with a valid certificate', () => {
  let worker: TestWorker;
  let origin: RawOrigin;
  let meshPort = 0;

  before(async () => {
    origin = await startRawOrigin(({ head }) => {
      if (head.startsWith('GET /hang')) return undefined;
      const size = Number(/^GET \/size\/(\d+)/.exec(head)?.[1] ?? 2);
      return `HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n${'x'.repeat(size)}`;
    });
    worker = await startWorker('b');
    worker.identity({
      bundle: pki.bundle,
      svids: new Map([
        ['spiffe://mesh.internal/node/b', NODE_B],
        ['spiffe://mesh.internal/svc/orders', ORDERS],
      ]),
    });
    meshPort = await worker.listen({ id: 'mesh', kind: 'mesh' });
    await worker.tables({
      'nodes/b/instances/orders/o1': instance(meshPort, origin.port),
      'config/services/orders': { timeout: '2s' },
    });
  });
  beforeEach(() => origin.forget());
  after(async () => {
    origin.close();
    await worker.stop();
  });

  /** A well-behaved peer of its own is served, and nothing is left over. */
  const assertWell = async (): Promise<void> => {
    const canary = await dialMux(meshPort, pki, pki.svid('svc', 'web'));
    canary.send(get(1, '/canary'));
    await eventually(() => {
      const head = canary.frames.find(({ type }) => type === TYPE.head);
      assert.match(head?.payload.toString('latin1') ?? '', /HTTP\/1\.1 200 OK/);
    });
    canary.socket.destroy();
    await eventually(async () => assert.equal(await activeRequests(worker), 0));
    assert.equal(worker.child.exitCode, null);
  };

  const assertClosed = (peer: MuxPeer): Promise<void> =>
    eventually(() => assert.ok(peer.isClosed, 'the connection must end'));

  /** Each of these breaks the protocol so that nothing behind it can be trusted. */
  const fatal: Readonly<Record<string, readonly Buffer[]>> = {
    'a frame longer than any': [Buffer.from([0xff, 0xff, 0xff, TYPE.data, 0, 0, 0, 1])],
    'a frame of an unknown type': [frame(9, 0, 'x')],
    'SETTINGS from the caller': [settingsFrame()],
    'HEAD for stream 0': [get(0)],
    'a stream number used before': [get(5, '/hang'), get(5)],
    'a stream number below the last': [get(5, '/hang'), get(3)],
    'DATA for a stream never opened': [frame(TYPE.data, 9, 'x')],
    'END for a stream never opened': [frame(TYPE.end, 9, '')],
    'HEAD too short for its own length': [frame(TYPE.head, 1, 'ab')],
    'HEAD shorter than the head it states': [
      headFrame(1, 'GET / HTTP/1.1\r\nhost: orders\r\n', '', 0, 5000),
    ],
    'WINDOW without its number': [get(1, '/hang'), frame(TYPE.window, 1, 'abc')],
    'a window of zero': [get(1, '/hang'), numberFrame(TYPE.window, 1, 0)],
    'a window beyond the largest': [get(1, '/hang'), numberFrame(TYPE.window, 1, 0xffffffff)],
    'PING without its number': [frame(TYPE.ping, 0, 'x')],
    'GOAWAY without its number': [frame(TYPE.goaway, 0, '')],
    'DATA behind END': [
      headFrame(1, POST),
      frame(TYPE.data, 1, 'x', FLAG_END),
      frame(TYPE.data, 1, 'y'),
    ],
    'END twice': [headFrame(1, POST), frame(TYPE.end, 1, ''), frame(TYPE.end, 1, '')],
    'more DATA than the window': [
      headFrame(1, POST),
      ...Array.from({ length: 3000 }, () => frame(TYPE.data, 1, 'x'.repeat(16_384))),
    ],
    'a body longer than its Content-Length': [
      headFrame(1, `${POST}content-length: 3\r\n`),
      frame(TYPE.data, 1, 'abcd'),
    ],
    'a body shorter than its Content-Length': [
      headFrame(1, `${POST}content-length: 3\r\n`),
      frame(TYPE.data, 1, 'ab', FLAG_END),
    ],
    'a trailer section with a request in it': [
      headFrame(1, POST),
      frame(TYPE.data, 1, 'x'),
      frame(TYPE.end, 1, `\r\n${SMUGGLED}`),
    ],
    'a trailer with a control character': [
      headFrame(1, POST),
      frame(TYPE.data, 1, 'x'),
      frame(TYPE.end, 1, 'x-a: b\rc\r\n'),
    ],
    'a trailer without its line end': [headFrame(1, POST), frame(TYPE.end, 1, 'x-a: b')],
    'Content-Length as a trailer': [
      headFrame(1, POST),
      frame(TYPE.end, 1, 'content-length: 5\r\n'),
    ],
    'a head without its last line end': [
      headFrame(1, 'GET / HTTP/1.1\r\nhost: orders\r\nx-a: b', '', FLAG_END),
    ],
    'a head whose last line ends in the body': [
      headFrame(1, 'GET / HTTP/1.1\r\nhost: orders\r\nx-a: b\r', '\nrest', FLAG_END),
    ],
    'DATA before the upgrade was agreed to': [
      headFrame(
        1,
        'GET /hang HTTP/1.1\r\nhost: orders\r\nconnection: upgrade\r\nupgrade: websocket\r\n',
      ),
      frame(TYPE.data, 1, SMUGGLED),
    ],
  };
  for (const [name, frames] of Object.entries(fatal)) {
    it(`ends the connection at ${name}`, async () => {
      const peer = await dialMux(meshPort, pki, EVIL);
      peer.send(...frames);
      await assertClosed(peer);
      await eventually(async () => assert.equal(await activeRequests(worker), 0));
      assert.doesNotMatch(origin.received.join(''), /smuggled/);
      await assertWell();
    });
  }

  /** Broken HTTP in a whole frame: this request is refused, the others go on. */
  const refused: Readonly<Record<string, Buffer>> = {
    'no HTTP at all': headFrame(1, 'hello\r\n', '', FLAG_END),
    'no Host': headFrame(1, 'GET / HTTP/1.1\r\n', '', FLAG_END),
    'an empty line in the head': headFrame(
      1,
      `GET / HTTP/1.1\r\nhost: a\r\n\r\n${SMUGGLED}`,
      '',
      FLAG_END,
    ),
    'a bare CR in a field': headFrame(1, 'GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n', '', FLAG_END),
    'NUL in a field': headFrame(1, 'GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n', '', FLAG_END),
    'chunked coding': headFrame(1, `${POST}transfer-encoding: chunked\r\n`, '', FLAG_END),
    'one byte more than Content-Length': headFrame(1, `${POST}content-length: 3\r\n`, 'abcd'),
    'a byte where Content-Length is 0': headFrame(1, `${POST}content-length: 0\r\n`, 'a'),
    'many bytes more than Content-Length': headFrame(
      1,
      `${POST}content-length: 3\r\n`,
      `abc${SMUGGLED}`,
    ),
    'fewer bytes than Content-Length': headFrame(1, `${POST}content-length: 3\r\n`, 'ab', FLAG_END),
    'too many fields': headFrame(
      1,
      `GET / HTTP/1.1\r\nhost: a\r\n${'a: b\r\n'.repeat(200)}`,
      '',
      FLAG_END,
    ),
    'body bytes and an upgrade': headFrame(
      1,
      'GET / HTTP/1.1\r\nhost: orders\r\nconnection: upgrade\r\nupgrade: websocket\r\n',
      SMUGGLED,
    ),
  };
  for (const [name, request] of Object.entries(refused)) {
    it(`answers 4xx to ${name}, and goes on with the next stream`, async () => {
      const peer = await dialMux(meshPort, pki, EVIL);
      peer.send(request, frame(TYPE.data, 1, SMUGGLED), get(3, '/next'));
      const headOf = (id: number): string =>
        peer.frames
          .find((seen) => seen.type === TYPE.head && seen.id === id)
          ?.payload.toString('latin1') ?? '';
      await eventually(() => assert.match(headOf(3), /HTTP\/1\.1 200 OK/));
      assert.match(headOf(1), /HTTP\/1\.1 4\d\d /);
      assert.deepEqual(
        origin.requests.map(({ head }) => head.split(' ')[1]),
        ['/next'],
      );
      peer.socket.destroy();
      await assertWell();
    });
  }

  it('takes no word about who calls', async () => {
    const peer = await dialMux(meshPort, pki, EVIL);
    const forged = [
      'x-forwarded-client-cert',
      'X-Forwarded-Client_Cert',
      'x_forwarded_client_cert',
      'x-gatemesh-source',
      'x_gatemesh_source',
      'x-spiffe-id',
    ];
    peer.send(get(1, '/who', forged.map((name) => `${name}: URI=spiffe://forged\r\n`).join('')));
    await eventually(() => assert.equal(origin.requests.length, 1));
    const { head } = origin.requests[0]!;
    assert.doesNotMatch(head, /forged/);
    assert.match(
      head,
      /\r\nx-forwarded-client-cert: By=spiffe:\/\/mesh\.internal\/svc\/orders;URI=spiffe:\/\/mesh\.internal\/svc\/evil\r\n/,
    );
    peer.socket.destroy();
  });

  it('passes on bytes of a head that are not ASCII as they came', async () => {
    const peer = await dialMux(meshPort, pki, EVIL);
    peer.send(get(1, '/latin1', 'x-name: J\xfcrgen \xff\r\n'));
    await eventually(() => assert.equal(origin.requests.length, 1));
    assert.match(origin.requests[0]!.head, /\r\nx-name: J\xfcrgen \xff\r\n/);
    peer.socket.destroy();
  });

  it('serves 512 stalled streams, refuses one more, and forgets them when the peer goes', async () => {
    const peer = await dialMux(meshPort, pki, EVIL);
    for (let id = 1; id <= 513; id++) peer.send(headFrame(id, POST));
    await eventually(() => {
      const resets = peer.frames.filter(({ type }) => type === TYPE.reset);
      assert.deepEqual(
        resets.map(({ id, payload }) => [id, payload[0]]),
        [[513, 2]],
      );
    });
    peer.socket.destroy();
    await assertWell();
  });

  it('survives a flood of opened and reset streams', async () => {
    const peer = await dialMux(meshPort, pki, EVIL);
    for (let batch = 0; batch < 20; batch++) {
      const frames: Buffer[] = [];
      for (let i = 0; i < 100; i++) {
        const id = batch * 100 + i + 1;
        frames.push(get(id, '/hang'), frame(TYPE.reset, id, '\x01'));
      }
      peer.send(...frames);
      await new Promise((resolve) => setImmediate(resolve));
    }
    peer.send(get(5000, '/size/3'));
    await eventually(() => assert.ok(peer.frames.some(({ id }) => id === 5000)));
    peer.socket.destroy();
    await assertWell();
    await eventually(() => assert.ok(origin.open < 20, `${origin.open} connections are open`));
  });

  it('does not hold what a peer makes it say and does not read', async () => {
    const before = await rssOf(worker);
    for (const what of [
      Buffer.concat(Array.from({ length: 5000 }, () => numberFrame(TYPE.ping, 0, 1))),
      undefined,
    ]) {
      const peer = await dialMux(meshPort, pki, EVIL);
      await eventually(() => assert.equal(peer.frames.length, 1));
      peer.socket.pause();
      let id = 1;
      let sent = 0;
      while (!peer.isClosed && !peer.socket.destroyed && sent < 200_000_000) {
        const bytes =
          what ?? Buffer.concat(Array.from({ length: 200 }, () => get(id++, '/size/16000')));
        sent += what === undefined ? 200 * 16_000 : bytes.length;
        if (!peer.socket.write(bytes)) {
          const flowed = await Promise.race([
            new Promise((resolve) => peer.socket.once('drain', () => resolve(true))),
            new Promise((resolve) => peer.socket.once('close', () => resolve(true))),
            new Promise((resolve) => setTimeout(() => resolve(false), 1000)),
          ]);
          if (flowed === false) break;
        }
      }
      const grown = (await rssOf(worker)) - before;
      assert.ok(grown < 250_000_000, `${Math.round(grown / 1e6)} MB are held`);
      peer.socket.destroy();
    }
    await assertWell();
  });

  it('keeps a long request of a peer that answers PING, and gives up one that does not', async () => {
    await worker.tables({
      'nodes/b/instances/orders/o1': instance(meshPort, origin.port),
      'config/services/orders': { timeout: '20s' },
    });
    const peer = await dialMux(meshPort, pki, EVIL);
    // Answers PING as a gateway does.
    let answered = 0;
    peer.socket.on('data', () => {
      const pings = peer.frames.filter(({ type, flags }) => type === TYPE.ping && flags === 0);
      for (; answered < pings.length; answered++) {
        peer.send(numberFrame(TYPE.ping, 0, 0, FLAG_ACK));
      }
    });
    peer.send(get(1, '/hang'));
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    assert.equal(peer.isClosed, false);
    assert.ok(answered > 0);
    peer.socket.destroy();
    const silent = await dialMux(meshPort, pki, EVIL);
    silent.send(get(1, '/hang'));
    await assertClosed(silent);
    await worker.tables({
      'nodes/b/instances/orders/o1': instance(meshPort, origin.port),
      'config/services/orders': { timeout: '2s' },
    });
    await assertWell();
  });

  it('takes half frames, byte by byte', async () => {
    const peer = await dialMux(meshPort, pki, EVIL);
    for (const byte of Buffer.concat([
      headFrame(1, POST),
      frame(TYPE.data, 1, 'abc'),
      frame(TYPE.end, 1, 'x-t: 1\r\n'),
    ])) {
      peer.socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => assert.equal(origin.requests.length, 1));
    assert.equal(origin.requests[0]!.body, 'abc');
    peer.send(frame(TYPE.head, 3, '').subarray(0, 5));
    peer.socket.destroy();
    const largest = await dialMux(meshPort, pki, EVIL);
    largest.send(frame(TYPE.data, 0, 'x'.repeat(MAX_PAYLOAD_BYTES)), get(1));
    await eventually(() => assert.ok(largest.frames.some(({ id }) => id === 1)));
    largest.socket.destroy();
    await assertWell();
  });

  it('refuses streams behind GOAWAY and closes after those before it', async () => {
    const peer = await dialMux(meshPort, pki, EVIL);
    peer.send(get(1, '/before'), numberFrame(TYPE.goaway, 0, 0), get(2, '/behind'));
    await assertClosed(peer);
    assert.ok(peer.frames.some(({ type, id }) => type === TYPE.head && id === 1));
    assert.deepEqual(
      origin.requests.map(({ head }) => head.split(' ')[1]),
      ['/before'],
    );
    await assertWell();
  });
});

describe('a hostile callee with the right certificate', () => {
  let worker: TestWorker;
  let egress = 0;
  let onFrame: (seen: SeenFrame, peer: MuxPeer) => void = () => {};
  let onPeer: (peer: MuxPeer) => void = () => {};
  let callee: Awaited<ReturnType<typeof startMuxCallee>>;

  before(async () => {
    callee = await startMuxCallee(
      pki,
      ORDERS,
      (peer) => onPeer(peer),
      (seen, peer) => {
        if (seen.type === TYPE.ping && seen.flags === 0)
          peer.send(numberFrame(TYPE.ping, 0, 0, FLAG_ACK));
        onFrame(seen, peer);
      },
    );
    worker = await startWorker('a');
    worker.identity({
      bundle: pki.bundle,
      svids: new Map([
        ['spiffe://mesh.internal/node/a', pki.svid('node', 'a')],
        ['spiffe://mesh.internal/svc/web', pki.svid('svc', 'web')],
      ]),
    });
    egress = await worker.listen({ id: 'egress', kind: 'egress', as: 'web', to: undefined });
    await worker.tables({
      'nodes/b/instances/orders/o1': instance(callee.port, 1),
      'config/services/orders': {
        timeout: '4s',
        retry: { attempts: 0 },
        outlierDetection: { consecutive: 0 },
      },
    });
  });
  beforeEach(() => {
    onPeer = (peer) => peer.send(settingsFrame());
  });
  after(async () => {
    callee.close();
    await worker.stop();
  });

  const request = (line: string, fields = ''): string =>
    `${line} HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n${fields}\r\n`;
  const answerWith = (...frames: ((id: number) => Buffer)[]): void => {
    onFrame = ({ type, id }, peer) => {
      if (type === TYPE.head) peer.send(...frames.map((make) => make(id)));
    };
  };
  const OK = 'HTTP/1.1 200 OK\r\n';
  const assertWell = async (): Promise<void> => {
    // A peer that could not be reached is left alone for a second.
    await eventually(async () => {
      answerWith((id) => headFrame(id, `${OK}content-length: 2\r\n`, 'ok', FLAG_END));
      const received = await exchangeBytes(egress, request('GET /canary'));
      assert.match(received, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok$/s);
    });
    await eventually(async () => assert.equal(await activeRequests(worker), 0));
    assert.equal(worker.child.exitCode, null);
  };

  const bad: Readonly<Record<string, readonly ((id: number) => Buffer)[]>> = {
    'an answer on a stream never opened': [() => headFrame(99, OK, '', FLAG_END)],
    '101 unasked': [
      (id) => headFrame(id, 'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n'),
    ],
    'no HTTP': [(id) => headFrame(id, 'hello\r\n', '', FLAG_END)],
    'chunked coding': [
      (id) => headFrame(id, `${OK}transfer-encoding: chunked\r\n`, '0\r\n\r\n', FLAG_END),
    ],
    'one byte more than Content-Length': [
      (id) => headFrame(id, `${OK}content-length: 2\r\n`, 'abcHTTP', 0),
    ],
    'a byte where Content-Length is 0': [(id) => headFrame(id, `${OK}content-length: 0\r\n`, 'a')],
    'fewer bytes than Content-Length': [
      (id) => headFrame(id, `${OK}content-length: 2\r\n`, 'a', FLAG_END),
    ],
    'interim answers without end': [
      (id) =>
        Buffer.concat(
          Array.from({ length: 100 }, () =>
            headFrame(id, 'HTTP/1.1 103 Early Hints\r\nlink: a\r\n'),
          ),
        ),
    ],
    'a body before its head': [
      (id) => frame(TYPE.data, id, 'HTTP/1.1 200 Forged\r\ncontent-length: 0\r\n\r\n'),
    ],
    'an end before its head': [(id) => frame(TYPE.end, id, '')],
    'an end behind an interim answer': [
      (id) => headFrame(id, 'HTTP/1.1 103 Early Hints\r\nlink: a\r\n'),
      (id) => frame(TYPE.end, id, ''),
    ],
    'a head without its last line end': [(id) => headFrame(id, `${OK}x-a: b`, '', FLAG_END)],
    'RESET with a reason nobody knows': [(id) => frame(TYPE.reset, id, '\xff')],
    'RESET without a reason': [(id) => frame(TYPE.reset, id, '')],
    'GOAWAY before the answer': [() => numberFrame(TYPE.goaway, 0, 0)],
    'SETTINGS twice': [() => settingsFrame()],
    'a reason that is no word of ours': [
      (id) => headFrame(id, 'HTTP/1.1 503 x\r\nx-gatemesh-reason: UH\r\n', '', FLAG_END),
    ],
  };
  for (const [name, frames] of Object.entries(bad)) {
    it(`answers 5xx for ${name}`, async () => {
      answerWith(...frames);
      const received = await exchangeBytes(egress, request('GET /x'));
      assert.match(
        received,
        /^(?:HTTP\/1\.1 103 Early Hints\r\nlink: a\r\n\r\n)*HTTP\/1\.1 50[234] .*"error":/s,
      );
      assert.ok((received.match(/103 Early/g) ?? []).length <= 16);
      await assertWell();
    });
  }

  it('sends nothing behind an answer that has no body', async () => {
    for (const [line, status] of [
      ['HEAD /x', '200 OK'],
      ['GET /x', '204 No Content'],
      ['GET /x', '304 Not Modified'],
    ] as const) {
      answerWith((id) => headFrame(id, `HTTP/1.1 ${status}\r\n`, 'H', 0));
      const received = await exchangeBytes(egress, request(line));
      assert.doesNotMatch(received, /\r\n\r\nH$/);
      await assertWell();
    }
  });

  it('sends no trailer that is none', async () => {
    for (const trailers of [
      '\r\nHTTP/1.1 200 Smuggled\r\n\r\n',
      'a: b\rc\r\n',
      'a: b',
      'content-length: 9\r\n',
    ]) {
      answerWith(
        (id) => headFrame(id, OK),
        (id) => frame(TYPE.data, id, 'body'),
        (id) => frame(TYPE.end, id, trailers),
      );
      const received = await exchangeBytes(egress, request('GET /x')).catch(
        (error: Error) => error.message,
      );
      assert.doesNotMatch(received, /Smuggled|\r\n0\r\n/);
      await assertWell();
    }
  });

  it('does not let a second answer through', async () => {
    answerWith(
      (id) => headFrame(id, OK),
      (id) => headFrame(id, 'HTTP/1.1 200 Second\r\n'),
    );
    const received = await exchangeBytes(egress, request('GET /x')).catch(() => '');
    assert.doesNotMatch(received, /Second/);
    await assertWell();
  });

  it('counts no reason that is not ours', async () => {
    for (const reason of ['constructor', '__proto__', 'toString', 'made up', 'x'.repeat(1000)]) {
      answerWith((id) =>
        headFrame(id, `HTTP/1.1 200 OK\r\nx-gatemesh-reason: ${reason}\r\n`, '', FLAG_END),
      );
      const received = await exchangeBytes(egress, request('GET /x'));
      assert.match(received, /^HTTP\/1\.1 200 OK\r\n/);
      assert.doesNotMatch(received, /x-gatemesh-reason/);
    }
    const reply = await worker.ask({ kind: 'metrics' });
    assert.ok(reply.kind === 'metrics');
    for (const { reason } of reply.metrics.requests) assert.match(reason, /^[A-Z]{0,6}$/);
    await assertWell();
  });

  it('says 502 in time when the peer never says SETTINGS', async () => {
    callee.peers.at(-1)?.socket.destroy();
    await eventually(async () => {
      const reply = await worker.ask({ kind: 'state' });
      assert.ok(reply.kind === 'state');
      assert.equal(reply.state.meshConnections.length, 0);
    });
    onPeer = () => {};
    const began = performance.now();
    const received = await exchangeBytes(egress, request('POST /x', 'Content-Length: 0\r\n'));
    assert.match(received, /^HTTP\/1\.1 502 .*"reason":"UF"/s);
    assert.ok(performance.now() - began < 3500);
    onPeer = (peer) => peer.send(settingsFrame());
    await assertWell();
  });

  it('does not collect connections to a peer that allows no stream', async () => {
    for (const peer of callee.peers) peer.socket.destroy();
    onPeer = (peer) => peer.send(settingsFrame(0));
    for (let i = 0; i < 10; i++) await exchangeBytes(egress, request('GET /x'));
    await eventually(async () => {
      const reply = await worker.ask({ kind: 'state' });
      assert.ok(reply.kind === 'state');
      assert.equal(reply.state.meshConnections.length, 0);
    });
    onPeer = (peer) => peer.send(settingsFrame());
    await assertWell();
  });

  it('goes on with an upload that began before the connection was there', async () => {
    for (const peer of callee.peers) peer.socket.destroy();
    await eventually(async () => {
      const reply = await worker.ask({ kind: 'state' });
      assert.ok(reply.kind === 'state');
      assert.equal(reply.state.meshConnections.length, 0);
    });
    onPeer = (peer) => void setTimeout(() => peer.send(settingsFrame()), 300);
    onFrame = ({ type, id, payload }, peer) => {
      if (type === TYPE.data) peer.send(numberFrame(TYPE.window, id, payload.length));
      if (type === TYPE.end) peer.send(headFrame(id, `${OK}content-length: 2\r\n`, 'ok', FLAG_END));
    };
    const socket = net.connect(egress, '127.0.0.1');
    let received = '';
    socket.on('data', (chunk) => (received += chunk.toString('latin1')));
    socket.write('PUT /up HTTP/1.1\r\nHost: orders\r\nContent-Length: 1000000\r\n\r\n');
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.write('x'.repeat(10));
    await new Promise((resolve) => setTimeout(resolve, 400));
    socket.write('x'.repeat(999_990));
    await eventually(() => assert.match(received, /^HTTP\/1\.1 200 OK/), 3000);
    socket.destroy();
    await assertWell();
  });
});
