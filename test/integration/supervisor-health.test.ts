import assert from 'node:assert/strict';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { systemClock } from '#kit/clock.ts';
import { probe } from '../../gateway/health/probe.ts';
import { Prober, type ProbeTarget } from '../../gateway/health/prober.ts';
import type { Check } from '../../registry/documents/types.ts';
import { eventually } from '../support/eventually.ts';

const HTTP: Check = {
  kind: 'http',
  path: '/healthz',
  intervalMs: 50,
  timeoutMs: 300,
  rise: 2,
  fall: 3,
};
const TCP: Check = { kind: 'tcp', intervalMs: 50, timeoutMs: 300, rise: 2, fall: 3 };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function listen(server: net.Server, port = 0): Promise<{ host: string; port: number }> {
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

describe('probe', () => {
  const answers: readonly [name: string, status: number, problem: string | undefined][] = [
    ['200 is well', 200, undefined],
    ['a redirection is well', 302, undefined],
    ['404 is not', 404, 'GET /healthz answered 404'],
    ['503 is not', 503, 'GET /healthz answered 503'],
  ];
  for (const [name, status, problem] of answers) {
    it(name, async () => {
      const at = await listen(
        http.createServer((request, response) => {
          assert.equal(request.headers.connection, 'close');
          response.writeHead(request.url === '/healthz' ? status : 500).end('body');
        }),
      );
      assert.equal(await probe(at, HTTP), problem);
    });
  }

  it('does not wait for a body without end', async () => {
    const at = await listen(
      net.createServer((socket) => {
        const more = setInterval(() => socket.write('x'.repeat(30_000)), 5);
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n');
        socket.on('error', () => {}).on('close', () => clearInterval(more));
      }),
    );
    assert.equal(await probe(at, HTTP), undefined);
  });

  it('is over after its timeout, also when bytes still trickle', async () => {
    const at = await listen(
      net.createServer((socket) => {
        const trickle = setInterval(() => socket.write('x'), 20);
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n');
        socket.on('error', () => {}).on('close', () => clearInterval(trickle));
      }),
    );
    assert.equal(await probe(at, HTTP), 'GET /healthz took longer than 300 ms');
  });

  it('says what a closed port answers', async () => {
    const server = net.createServer();
    const at = await listen(server);
    server.close();
    assert.equal(await probe(at, HTTP), `connect ECONNREFUSED 127.0.0.1:${at.port}`);
    assert.equal(await probe(at, TCP), `connect ECONNREFUSED 127.0.0.1:${at.port}`);
  });

  it('asks a tcp service for no more than a connection', async () => {
    assert.equal(await probe(await listen(net.createServer((s) => s.destroy())), TCP), undefined);
  });
});

describe('Prober', () => {
  it('reports changes only: down with its instance, up again with it', async () => {
    const seen: string[] = [];
    const prober = new Prober({
      clock: systemClock,
      rng: () => 0.5,
      probe,
      onChange: ({ id }, { health }) => seen.push(`${id} ${health}`),
    });
    cleanups.push(() => prober.stop());
    let probes = 0;
    const accept = (socket: net.Socket): void => {
      probes += 1;
      socket.destroy();
    };
    const first = net.createServer(accept);
    const address = await listen(first);
    const target: ProbeTarget = { id: 'a', address, check: TCP };
    prober.setTargets([target]);
    assert.equal(prober.healthOf('a').health, 'unknown');
    await eventually(() => assert.ok(probes > 4));
    prober.setTargets([{ ...target }]);
    assert.deepEqual(seen, ['a passing']);

    first.close();
    await eventually(() => assert.deepEqual(seen, ['a passing', 'a failing']));
    assert.match(prober.healthOf('a').lastError ?? '', /ECONNREFUSED/);

    await listen(net.createServer(accept), address.port);
    await eventually(() => assert.deepEqual(seen.at(-1), 'a passing'));

    prober.setTargets([]);
    assert.deepEqual(prober.healthOf('a'), { health: 'unknown', lastError: undefined });
  });
});
