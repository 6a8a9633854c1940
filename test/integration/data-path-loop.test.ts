import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { exchangeBytes, instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { testPki } from '../support/pki.ts';

const pki = testPki();

describe('a request that is led back to where it came from', () => {
  let a: TestWorker;
  let b: TestWorker;
  let proxy: http.Server;
  let seen = 0;
  let egressA = 0;

  before(async () => {
    [a, b] = await Promise.all([startWorker('a'), startWorker('b')]);
    a.identity({
      bundle: pki.bundle,
      svids: new Map([['spiffe://mesh.internal/node/a', pki.svid('node', 'a')]]),
    });
    const orders = pki.svid('svc', 'orders');
    b.identity({
      bundle: pki.bundle,
      svids: new Map([['spiffe://mesh.internal/svc/orders', orders]]),
    });
    const meshPort = await b.listen({ id: 'mesh', kind: 'mesh' });
    egressA = await a.listen({ id: 'egress', kind: 'egress', as: undefined, to: undefined });

    // A service that is a plain proxy, set up by mistake to go out through vm-a again.
    proxy = http.createServer((request, response) => {
      seen++;
      const { url, headers } = request;
      http
        .get({ host: '127.0.0.1', port: egressA, path: url, headers }, (answer) => {
          response.writeHead(answer.statusCode!, answer.headers);
          answer.pipe(response);
        })
        .on('error', () => response.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const proxyPort = (proxy.address() as AddressInfo).port;
    const documents = {
      'nodes/b/instances/orders/orders-1': instance(meshPort, proxyPort),
      // And one with nothing in between: the instance is the egress listener.
      'nodes/a/instances/round/round-1': instance(1, egressA),
    };
    await Promise.all([a.tables(documents), b.tables(documents)]);
  });
  after(async () => {
    proxy.closeAllConnections();
    proxy.close();
    await Promise.all([a.stop(), b.stop()]);
  });

  const get = (host: string): Promise<string> =>
    exchangeBytes(egressA, `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);

  it('ends with 508 after 16 rounds through a service on another node', async () => {
    const answer = await get('orders.mesh');
    assert.match(answer, /^HTTP\/1\.1 508 Loop Detected\r\n/);
    assert.match(answer, /"reason":"LOOP"/);
    assert.equal(seen, 16);
  });

  it('ends with 508 within one gateway', async () => {
    assert.match(await get('round.mesh'), /^HTTP\/1\.1 508 Loop Detected\r\n/);
  });
});
