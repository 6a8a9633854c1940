import assert from 'node:assert/strict';

import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { createLog } from '#kit/log.ts';
import { startAdmin } from '../../gateway/admin/server.ts';
import type { NodeAdminTarget } from '../../gateway/admin/source.ts';
import { fakeSource } from '../support/admin-source.ts';
import { opensslPki, type Issued } from '../support/openssl-pki.ts';

const pki = opensslPki();
const NODE_A = pki.issue('URI:spiffe://mesh.internal/node/vm-a');
const NODE_B = pki.issue('URI:spiffe://mesh.internal/node/vm-b');

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly servername: unknown;
  readonly alpn: unknown;
  readonly caller: string | undefined;
}

interface MeshPort {
  readonly port: number;
  readonly seen: Seen[];
}

/** Stands for another node's mesh port: wants a client certificate of our root, TLS 1.3, ALPN http/1.1. */
async function meshPort(
  t: TestContext,
  own: Issued,
  options: {
    readonly answer?: (res: ServerResponse) => void;
    readonly maxVersion?: 'TLSv1.2';
  } = {},
): Promise<MeshPort> {
  const seen: Seen[] = [];
  const server: Server = createServer(
    {
      ...own,
      ca: pki.ca,
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['http/1.1'],
      ...(options.maxVersion === undefined ? {} : { maxVersion: options.maxVersion }),
    },
    (req, res) => {
      const socket = req.socket as TLSSocket;
      seen.push({
        method: req.method,
        url: req.url,
        headers: req.headers,
        servername: (socket as TLSSocket & { servername: unknown }).servername,
        alpn: socket.alpnProtocol,
        caller: socket.getPeerX509Certificate()?.subjectAltName,
      });
      if (options.answer !== undefined) return options.answer(res);
      res.setHeader('content-type', 'application/json');
      res.end('{"node":"vm-b"}');
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, seen };
}

function targetAt(port: number, changes: Partial<NodeAdminTarget> = {}): NodeAdminTarget {
  return {
    host: '127.0.0.1',
    port,
    servername: 'vm-b.node.mesh.internal',
    identity: 'spiffe://mesh.internal/node/vm-b',
    ...NODE_A,
    ca: [pki.ca],
    ...changes,
  };
}

async function adminTo(t: TestContext, target: NodeAdminTarget): Promise<string> {
  const source = fakeSource({
    nodeAdminTarget: (node) => (node === 'vm-b' ? target : undefined),
  });
  const listen = { host: '127.0.0.1', port: 0 };
  const admin = await startAdmin(source, { listen, log: createLog({ level: 'silent' }) });
  t.after(() => admin.close());
  return `http://127.0.0.1:${admin.address.port}`;
}

describe('/nodes/<node>/', () => {
  it('asks the other node over mutual TLS as a node, and passes on its answer', async (t) => {
    const { port, seen } = await meshPort(t, NODE_B);
    const admin = await adminTo(t, targetAt(port));
    const response = await fetch(
      `${admin}/nodes/vm-b/explain?url=http%3A%2F%2Fa%2F%3Fb%3Dc&h=a:b&h=c:d`,
      {
        headers: { cookie: 'secret', 'x-forwarded-client-cert': 'By=me', connection: 'host' },
      },
    );
    assert.equal(response.status, 200);
    assert.equal(await response.text(), '{"node":"vm-b"}');
    assert.deepEqual(seen, [
      {
        method: 'GET',
        url: '/explain?url=http%3A%2F%2Fa%2F%3Fb%3Dc&h=a:b&h=c:d',
        headers: { host: 'localhost', accept: '*/*', connection: 'keep-alive' },
        servername: 'vm-b.node.mesh.internal',
        alpn: 'http/1.1',
        caller: 'URI:spiffe://mesh.internal/node/vm-a',
      },
    ]);
  });

  it('lets nothing of the other node run under our origin', async (t) => {
    const { port } = await meshPort(t, NODE_B, {
      answer(res) {
        res.setHeader('content-type', 'text/html');
        res.setHeader('set-cookie', 'a=b');
        res.setHeader('location', 'https://evil.example/');
        res.setHeader('content-security-policy', "script-src 'unsafe-inline'");
        res.end('<script>alert(1)</script>');
      },
    });
    const admin = await adminTo(t, targetAt(port));
    const { headers } = await fetch(`${admin}/nodes/vm-b/evil`);
    assert.equal(headers.get('set-cookie'), null);
    assert.equal(headers.get('location'), null);
    assert.match(headers.get('content-security-policy')!, /^default-src 'none';.*sandbox$/);
    const own = await fetch(`${admin}/nodes/vm-b`);
    assert.equal(own.url, `${admin}/nodes/vm-b/`);
    assert.doesNotMatch(await own.text(), /alert/);
  });

  it('passes a 503 on at once, without asking again', async (t) => {
    const { port, seen } = await meshPort(t, NODE_B, {
      answer(res) {
        res.statusCode = 503;
        res.end('{}');
      },
    });
    const admin = await adminTo(t, targetAt(port));
    assert.equal((await fetch(`${admin}/nodes/vm-b/readyz`)).status, 503);
    assert.equal(seen.length, 1);
  });

  const OTHER_ROOT = opensslPki();
  const impostors: readonly [name: string, own: Issued, why: RegExp][] = [
    [
      'another node',
      pki.issue('URI:spiffe://mesh.internal/node/vm-c'),
      /it proved to be spiffe:\/\/mesh\.internal\/node\/vm-c; wanted spiffe:\/\/mesh\.internal\/node\/vm-b;/,
    ],
    [
      'a service of the same name',
      pki.issue('URI:spiffe://mesh.internal/svc/vm-b'),
      /it proved to be spiffe:\/\/mesh\.internal\/svc\/vm-b; wanted/,
    ],
    [
      'only the server name',
      pki.issue('DNS:vm-b.node.mesh.internal'),
      /does not name a node of this mesh: wanted exactly one URI name, got 0;/,
    ],
    [
      'two identities',
      pki.issue('URI:spiffe://mesh.internal/node/vm-b,URI:spiffe://mesh.internal/node/vm-c'),
      /does not name a node of this mesh: wanted exactly one URI name, got 2;/,
    ],
    [
      'the same name in another trust domain',
      pki.issue('URI:spiffe://mesh.example/node/vm-b'),
      /wanted the trust domain "mesh.internal", got "mesh.example"/,
    ],
    [
      'the right name from another root',
      OTHER_ROOT.issue('URI:spiffe://mesh.internal/node/vm-b'),
      /unable to verify the first certificate|unable to get local issuer certificate/,
    ],
  ];
  for (const [name, own, why] of impostors) {
    it(`sends no byte to a peer that proves ${name}`, async (t) => {
      const { port, seen } = await meshPort(t, own);
      const admin = await adminTo(t, targetAt(port));
      const response = await fetch(`${admin}/nodes/vm-b/status`);
      assert.equal(response.status, 502);
      const { error, message } = (await response.json()) as { error: string; message: string };
      assert.equal(error, 'node_unreachable');
      assert.match(message, why);
      assert.deepEqual(seen, []);
    });
  }

  it('refuses TLS 1.2', async (t) => {
    const { port, seen } = await meshPort(t, NODE_B, { maxVersion: 'TLSv1.2' });
    const admin = await adminTo(t, targetAt(port));
    assert.equal((await fetch(`${admin}/nodes/vm-b/status`)).status, 502);
    assert.deepEqual(seen, []);
  });

  it('says where a node is that does not answer, and what to check', async (t) => {
    const closed = createTcpServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    closed.close();
    const admin = await adminTo(t, targetAt(port));
    const response = await fetch(`${admin}/nodes/vm-b/status`);
    assert.equal(response.status, 502);
    assert.deepEqual(await response.json(), {
      error: 'node_unreachable',
      message: `node "vm-b" at 127.0.0.1:${port}: connect ECONNREFUSED 127.0.0.1:${port}; check that its gateway runs and that its mesh port is open to this VM`,
    });
  });

  it('gives up on a port that accepts and stays silent', async (t) => {
    const silent = createTcpServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const sockets: { destroy(): unknown }[] = [];
    silent.on('connection', (socket) => sockets.push(socket));
    t.after(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const { port } = silent.address() as AddressInfo;
    const admin = await adminTo(t, targetAt(port));
    const response = await fetch(`${admin}/nodes/vm-b/status`);
    assert.equal(response.status, 502);
    assert.match(await response.text(), /127\.0\.0\.1:\d+: no TLS handshake within 2 s;/);
  });

  it('gives up on a node that takes the question and does not answer', async (t) => {
    const { port } = await meshPort(t, NODE_B, { answer: () => undefined });
    const admin = await adminTo(t, targetAt(port));
    const response = await fetch(`${admin}/nodes/vm-b/status`);
    assert.equal(response.status, 504);
    assert.match(await response.text(), /no answer within 4 s/);
  });

  it('knows which nodes there are, and goes one hop only', async (t) => {
    const { port, seen } = await meshPort(t, NODE_B);
    const admin = await adminTo(t, targetAt(port));
    const rows: readonly [path: string, status: number, message: string][] = [
      ['/nodes/vm-c/status', 404, 'node "vm-c": registered are vm-a, vm-b. Did you mean "vm-a"?'],
      [
        '/nodes/vm-a/status',
        404,
        'node "vm-a": it is registered, but this node has no certificate yet to prove itself with',
      ],
      [
        '/nodes/vm-b/nodes/vm-a/status',
        400,
        'another node is reached from the node you ask, not through a third one',
      ],
      [
        '/nodes/vm-b/%6eodes/vm-a/status',
        400,
        'another node is reached from the node you ask, not through a third one',
      ],
    ];
    for (const [path, status, message] of rows) {
      const response = await fetch(`${admin}${path}`);
      const body = (await response.json()) as { message: string };
      assert.deepEqual([response.status, body.message], [status, message], path);
    }
    assert.deepEqual(seen, []);
  });

  // Not with fetch, which resolves dot segments before it asks.
  for (const path of ['/./nodes/vm-a/status', '/%2e/nodes/vm-a/status', '//\\nodes/vm-a/status']) {
    it(`goes one hop only, also by ${path}`, async (t) => {
      const { port, seen } = await meshPort(t, NODE_B);
      const admin = new URL(await adminTo(t, targetAt(port)));
      const status = await new Promise<number | undefined>((resolve, reject) => {
        const options = { host: admin.hostname, port: admin.port, path: `/nodes/vm-b${path}` };
        http.get(options, (response) => resolve(response.resume().statusCode)).on('error', reject);
      });
      assert.equal(status, 400);
      assert.deepEqual(seen, []);
    });
  }
});
