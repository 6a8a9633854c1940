import assert from 'node:assert/strict';
import { connect as connectPlain, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { Address } from '#kit/address.ts';
import { eventually } from '../support/eventually.ts';
import { forgeWith, type Forged } from '../support/issuer.ts';
import { mesh, type Mesh } from '../support/mesh.ts';
import { nginx } from '../support/origins.ts';
import { testPki } from '../support/pki.ts';

const DEADLINE_MS = 5_000;
const HOUR_MS = 3_600_000;
const REQUEST = 'GET /outsider HTTP/1.1\r\nhost: orders.mesh\r\nconnection: close\r\n\r\n';

let running: Mesh;

before(async () => {
  running = await mesh()
    .node('vm-a')
    .node('vm-b')
    .service('web', { on: 'vm-a', origin: nginx('web') })
    .service('orders', { on: 'vm-b', origin: nginx('orders') })
    .start();
});

after(async () => {
  await running?.stop();
});

type Alpn = 'gatemesh/1' | 'http/1.1';

interface Answer {
  /** Application bytes that came back. */
  readonly bytes: string;
  /** The mesh port ended the connection; false when it was still open at the deadline. */
  readonly ended: boolean;
}

/**
 * Speaks over TLS with this certificate, or with none, as soon as the client's side of the handshake is done. With
 * `gatemesh/1` it waits for the callee's first frame, with `http/1.1` it asks.
 */
function ask(
  alpn: Alpn,
  certificate: Forged | undefined,
  deadlineMs = DEADLINE_MS,
): Promise<Answer> {
  const { host, port } = running.node('vm-b').mesh;
  const socket = connectTls({
    host,
    port,
    servername: 'orders.svc.mesh.internal',
    ALPNProtocols: [alpn],
    minVersion: 'TLSv1.3',
    // Whom the outsider believes is not the question here.
    rejectUnauthorized: false,
    ...(certificate === undefined ? {} : { cert: certificate.certPem, key: certificate.keyPem }),
  });
  if (alpn === 'http/1.1') socket.once('secureConnect', () => socket.write(REQUEST));
  return answerOf(socket, deadlineMs);
}

function askInClear({ host, port }: Address): Promise<Answer> {
  const socket = connectPlain({ host, port });
  socket.once('connect', () => socket.write(REQUEST));
  return answerOf(socket, DEADLINE_MS);
}

function answerOf(socket: Socket, deadlineMs: number): Promise<Answer> {
  return new Promise((resolve) => {
    let bytes = '';
    const timer = setTimeout(() => {
      resolve({ bytes, ended: false });
      socket.destroy();
    }, deadlineMs);
    socket.on('data', (chunk: Buffer) => (bytes += chunk.toString('latin1')));
    // An alert arrives as an error; what counts is that the connection is over.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve({ bytes, ended: true });
    });
  });
}

describe('the mesh port', () => {
  const uri = (id: string): Promise<Forged> => forgeWith(running.ca.folder, { uris: [id] });
  const outsiders: readonly [name: string, make: () => Promise<Forged | undefined>][] = [
    ['no certificate', () => Promise.resolve(undefined)],
    ['one from another CA', () => Promise.resolve(testPki().svid('svc', 'web'))],
    [
      'one that has expired',
      () =>
        forgeWith(running.ca.folder, {
          notBeforeMs: Date.now() - HOUR_MS,
          notAfterMs: Date.now() - 1_000,
        }),
    ],
    [
      'one that begins tomorrow',
      () =>
        forgeWith(running.ca.folder, {
          notBeforeMs: Date.now() + 24 * HOUR_MS,
          notAfterMs: Date.now() + 25 * HOUR_MS,
        }),
    ],
    ['the id of another trust domain', () => uri('spiffe://other.internal/svc/web')],
    [
      'the id of a trust domain that only begins like ours',
      () => uri('spiffe://mesh.internal.x/svc/web'),
    ],
    ['an id of a kind there is not', () => uri('spiffe://mesh.internal/robot/web')],
    ['an id with a path that climbs', () => uri('spiffe://mesh.internal/svc/../svc/web')],
    ['a URI that is no SPIFFE id', () => uri('https://mesh.internal/svc/web')],
    [
      'two ids',
      () =>
        forgeWith(running.ca.folder, {
          uris: ['spiffe://mesh.internal/svc/web', 'spiffe://mesh.internal/svc/payments'],
        }),
    ],
    ['no id at all', () => forgeWith(running.ca.folder, { uris: [] })],
    [
      'one that calls itself a CA',
      () => forgeWith(running.ca.folder, { basicConstraints: { ca: true } }),
    ],
  ];

  it('answers a caller whose certificate is good', async () => {
    const good = await forgeWith(running.ca.folder, {});
    const { bytes } = await ask('http/1.1', good);
    assert.match(bytes, /^HTTP\/1\.1 200 /);
    assert.match(bytes, /URI=spiffe:\/\/mesh\.internal\/svc\/web/);
    const silent = await ask('gatemesh/1', good, 1_000);
    assert.notEqual(silent.bytes, '');
    assert.equal(silent.ended, false);
    // Proves that the log of the origin would show an outsider's request.
    await eventually(async () => {
      assert.equal((await asked()).length, 1);
    });
  });

  for (const [name, make] of outsiders) {
    it(`gives a process with ${name} not one byte`, async () => {
      const earlier = (await asked()).length;
      const certificate = await make();
      for (const alpn of ['gatemesh/1', 'http/1.1'] as const) {
        assert.deepEqual(await ask(alpn, certificate), { bytes: '', ended: true }, alpn);
      }
      assert.equal((await asked()).length, earlier, 'the origin was asked');
    });
  }

  it('gives a process that speaks plain HTTP not one byte of an answer', async () => {
    const earlier = (await asked()).length;
    const { bytes, ended } = await askInClear(running.node('vm-b').mesh);
    // A TLS alert record may come back; anything that is HTTP may not.
    assert.doesNotMatch(bytes, /HTTP|orders/);
    assert.ok(bytes.length <= 7, `${bytes.length} bytes came back`);
    assert.equal(ended, true);
    assert.equal((await asked()).length, earlier);
  });

  async function asked(): Promise<string[]> {
    const requests = await running.origin('orders', 'vm-b').requests();
    return requests.filter((line) => line.includes('/outsider'));
  }
});
