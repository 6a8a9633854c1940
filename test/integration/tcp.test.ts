import assert from 'node:assert/strict';
import net, { type AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { eventually } from '../support/eventually.ts';
import { testPki } from '../support/pki.ts';

const pki = testPki();
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
  svids: new Map([
    ['spiffe://mesh.internal/node/b', pki.svid('node', 'b')],
    ['spiffe://mesh.internal/svc/db', pki.svid('svc', 'db')],
    ['spiffe://mesh.internal/svc/shop', pki.svid('svc', 'shop')],
  ]),
};

describe('smoke', () => {
  let a: TestWorker, b: TestWorker;
  let two = 0,
    one = 0;
  let server: net.Server;
  before(async () => {
    a = await startWorker('a');
    b = await startWorker('b');
    a.identity(MATERIAL_A);
    b.identity(MATERIAL_B);
    const mesh = await b.listen({ id: 'mesh', kind: 'mesh' });
    two = await a.listen({ id: 'e', kind: 'egress', as: 'web', to: 'db' });
    one = await b.listen({ id: 'e', kind: 'egress', as: undefined, to: 'db' });
    server = net.createServer({ allowHalfOpen: true }, (s) => {
      s.write('hi ');
      s.pipe(s);
      s.on('error', () => {});
    });
    await new Promise<void>((r) => server.listen(0, '127.0.0.1', r));
    const port = (server.address() as AddressInfo).port;
    for (const w of [a, b])
      await w.tables({ 'nodes/b/instances/db/d1': instance(mesh, port, { protocol: 'tcp' }) });
  });
  after(async () => {
    server.close();
    await a.stop();
    await b.stop();
  });
  for (const hops of [1, 2])
    it(`echo ${hops}`, async () => {
      const s = net.connect({
        port: hops === 1 ? one : two,
        host: '127.0.0.1',
        allowHalfOpen: true,
      });
      let got = '';
      s.on('data', (c) => (got += c.toString()));
      const ended = new Promise((r) => s.once('end', r));
      s.on('error', (e) => {
        got += e.message;
      });
      await eventually(() => assert.equal(got, 'hi '));
      s.write('x');
      await eventually(() => assert.equal(got, 'hi x'));
      s.end('bye');
      await ended;
      assert.equal(got, 'hi xbye');
      const reply = await (hops === 1 ? b : a).ask({ kind: 'metrics' });
      assert.ok(reply.kind === 'metrics');
      console.log(JSON.stringify(reply.metrics.requests), reply.metrics.activeRequests);
    });
});
