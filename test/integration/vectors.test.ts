import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { exchangeBytes, instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { eventually } from '../support/eventually.ts';
import { testPki } from '../support/pki.ts';
import { startRawOrigin, type RawOrigin } from '../support/raw-origin.ts';

interface Vector {
  readonly name: string;
  readonly bytes: Buffer;
}

function vectorsOf(file: string): readonly Vector[] {
  const { vectors } = JSON.parse(
    readFileSync(new URL(`../vectors/${file}.json`, import.meta.url), 'utf8'),
  ) as { vectors: readonly { id: string; kind?: string; tier?: string; raw: string }[] };
  return vectors.flatMap(({ id, kind, tier, raw }) => {
    const bytes = Buffer.from(raw, 'base64');
    const asItIs = { name: `${kind ?? tier} ${id}`, bytes };
    if (/\nhost[ \t]*:/i.test(bytes.toString('latin1'))) return [asItIs];
    const hosted = { name: `${kind ?? tier} ${id}, with Host`, bytes: withHost(bytes) };
    // The second corpus leaves it out everywhere; in the first, its absence can be the point.
    return tier === undefined ? [asItIs, hosted] : [hosted];
  });
}

function withHost(bytes: Buffer): Buffer {
  const lineEnd = bytes.indexOf('\n') + 1;
  return Buffer.concat([
    bytes.subarray(0, lineEnd),
    Buffer.from('Host: orders\r\n'),
    bytes.subarray(lineEnd),
  ]);
}

/**
 * What became of a vector. `cut`: the body broke the rules after the head had gone on: the service gets no end of the
 * request, and nothing else on that connection. `waiting`: not a whole request; nothing went on.
 */
type Outcome = 'refused' | 'served' | 'cut' | 'waiting';

const pki = testPki();

describe('request vectors', () => {
  let a: TestWorker;
  let b: TestWorker;
  let origin: RawOrigin;
  let ports: Readonly<Record<string, number>>;

  before(async () => {
    origin = await startRawOrigin();
    a = await startWorker('a');
    b = await startWorker('b');
    a.identity({
      bundle: pki.bundle,
      svids: new Map([['spiffe://mesh.internal/edge/public', pki.svid('edge', 'public')]]),
    });
    b.identity({
      bundle: pki.bundle,
      svids: new Map([
        ['spiffe://mesh.internal/svc/orders', pki.svid('svc', 'orders')],
        ['spiffe://mesh.internal/edge/public', pki.svid('edge', 'public')],
      ]),
    });
    const meshPort = await b.listen({ id: 'mesh', kind: 'mesh' });
    const edge = {
      id: 'edge',
      kind: 'edge',
      gateway: 'public',
      protocol: 'http',
      tlsMin: '1.2',
      certificates: [],
      trustedProxies: [],
    } as const;
    ports = { 'one hop': await b.listen(edge), 'two hops': await a.listen(edge) };
    const documents = {
      'nodes/b/instances/orders/o1': instance(meshPort, origin.port),
      'config/services/orders': { retry: { attempts: 0 }, outlierDetection: { consecutive: 0 } },
      'config/routes/all': { match: { hosts: ['*'] }, gateways: ['public'], to: ['orders'] },
    };
    await Promise.all([a.tables(documents), b.tables(documents)]);
  });
  after(async () => {
    origin.close();
    await Promise.all([a.stop(), b.stop()]);
  });

  /** Sends the vector, and once the gateway is done with it a request that must get its own answer. */
  async function run(port: number, { name, bytes }: Vector, canary: string): Promise<Outcome> {
    origin.forget();
    const { received, isClosed } = await sendAndSettle(port, bytes, () => origin.requests.length);
    const answer = await exchangeBytes(
      port,
      `GET ${canary} HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n`,
    );
    assert.match(
      answer,
      new RegExp(`^HTTP/1\\.1 200 OK\\r\\n.*\\r\\n\\r\\nGET ${canary} HTTP/1\\.1$`, 's'),
      name,
    );
    const requests = origin.requests.filter(({ head }) => !head.startsWith(`GET ${canary} `));
    const unread = origin.received.join('').replaceAll(/GET \/canary\S* HTTP[^]*?\r\n\r\n/g, '');
    for (const { head } of requests) assertCanonical(name, head);
    const [, status = ''] = /^HTTP\/1\.1 (\d\d\d)/.exec(received) ?? [];
    if (unread === '') {
      if (status === '') {
        assert.ok(isClosed || received === '', name);
        return isClosed ? 'refused' : 'waiting';
      }
      assert.match(status, /^[45]/, name);
      return 'refused';
    }
    if (requests.length === 0) {
      assertCanonical(name, `${unread.slice(0, unread.indexOf('\r\n\r\n'))}\r\n\r\n`);
      assert.doesNotMatch(received, /^HTTP\/1\.1 2/, name);
      return 'cut';
    }
    // More than one only where the vector is a pipeline of whole requests: each has its own answer then.
    const answers = received.match(/HTTP\/1\.1 \d\d\d /g)?.length ?? 0;
    assert.ok(
      answers >= requests.length,
      `${name}: ${requests.length} at the origin, ${answers} answers`,
    );
    return 'served';
  }

  for (const [file, least] of [
    ['gunicorn', { refused: 130, served: 50 }],
    ['desync-guardian', { refused: 120, served: 15 }],
  ] as const) {
    for (const hops of ['one hop', 'two hops']) {
      it(`${file} over ${hops}: refused with nothing at the service, or one canonical request`, async (t) => {
        const counts: Record<Outcome, number> = { refused: 0, served: 0, cut: 0, waiting: 0 };
        const problems: string[] = [];
        let n = 0;
        for (const vector of vectorsOf(file)) {
          try {
            counts[await run(ports[hops]!, vector, `/canary/${++n}`)]++;
          } catch (error) {
            problems.push(
              `${vector.name}: ${error instanceof Error ? error.message : String(error)}`,
            );
          }
        }
        t.diagnostic(`${file} over ${hops}: ${JSON.stringify(counts)}`);
        assert.deepEqual(problems, []);
        assert.ok(counts.refused >= least.refused && counts.served >= least.served);
      });
    }
  }

  it('leaves nothing under way', async () => {
    for (const worker of [a, b]) {
      await eventually(async () => {
        const reply = await worker.ask({ kind: 'metrics' });
        assert.ok(reply.kind === 'metrics');
        assert.equal(reply.metrics.activeRequests, 0);
      });
    }
  });
});

/** One start line and fields as a strict reader wants them, framed at most once. */
function assertCanonical(name: string, head: string): void {
  const why = `${name}: ${JSON.stringify(head)}`;
  assert.match(
    head,
    /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP\/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n$/,
    why,
  );
  assert.equal(head.match(/^host:/gim)?.length, 1, why);
  assert.ok((head.match(/^(?:content-length|transfer-encoding):/gim)?.length ?? 0) <= 1, why);
  assert.equal(head.match(/^x-forwarded-client-cert:/gim)?.length, 1, why);
  assert.doesNotMatch(head, /^(?:transfer_encoding|content_length|[^:\r]*[\t ]:)/im, why);
}

/** Sends and reads until the gateway closes, or has nothing to say for a while. */
async function sendAndSettle(
  port: number,
  bytes: Buffer,
  asked: () => number,
): Promise<{ readonly received: string; readonly isClosed: boolean }> {
  return await new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    let received = '';
    const done = (isClosed: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ received, isClosed });
    };
    // Quiet is not enough while the service has had more requests than the client has answers.
    const timer = setTimeout(() => {
      const answers = received.match(/HTTP\/1\.1 \d\d\d /g)?.length ?? 0;
      if (answers >= asked()) done(false);
      else timer.refresh();
    }, 80);
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      timer.refresh();
    });
    socket.on('end', () => done(true));
    socket.on('error', () => done(true));
  });
}
