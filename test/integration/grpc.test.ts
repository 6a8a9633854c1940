import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Metadata, status, type Client, type ServiceError } from '@grpc/grpc-js';
import { instance, startWorker, type TestWorker } from '../support/data-plane.ts';
import { eventually } from '../support/eventually.ts';
import {
  chat,
  collect,
  count,
  grpcClient,
  startGrpcOrigin,
  unary,
  type GrpcOrigin,
} from '../support/grpc.ts';
import { testPki } from '../support/pki.ts';

const pki = testPki();
const svids = (...names: readonly (readonly ['node' | 'svc', string])[]) =>
  new Map(
    names.map(([kind, name]) => [`spiffe://mesh.internal/${kind}/${name}`, pki.svid(kind, name)]),
  );

/** The call's error; fails when it has none. */
async function errorOf(call: Promise<unknown>): Promise<ServiceError> {
  return await call.then(
    () => assert.fail('the call went well'),
    (error: unknown) => error as ServiceError,
  );
}

describe('gRPC', () => {
  let a: TestWorker;
  let b: TestWorker;
  let origin: GrpcOrigin;
  let meshPort = 0;
  const ports = new Map<string, number>();

  const apply = async (more: Record<string, unknown> = {}): Promise<void> => {
    const documents = {
      'nodes/b/instances/calc/i1': instance(meshPort, origin.port, { protocol: 'grpc' }),
      'config/services/nobody': {},
      ...more,
    };
    await Promise.all([a.tables(documents), b.tables(documents)]);
  };

  before(async () => {
    origin = await startGrpcOrigin();
    a = await startWorker('a');
    b = await startWorker('b');
    a.identity({ bundle: pki.bundle, svids: svids(['node', 'a'], ['svc', 'web']) });
    b.identity({ bundle: pki.bundle, svids: svids(['node', 'b'], ['svc', 'calc']) });
    meshPort = await b.listen({ id: 'mesh', kind: 'mesh' });
    const egress = { id: 'egress', kind: 'egress', to: undefined } as const;
    ports.set('two hops', await a.listen({ ...egress, as: 'web' }));
    ports.set('one hop', await b.listen({ ...egress, as: undefined }));
    await apply();
  });
  after(async () => {
    origin?.close();
    await Promise.all([a?.stop(), b?.stop()]);
  });

  for (const hops of ['one hop', 'two hops']) {
    describe(`over ${hops}`, () => {
      let client: Client;
      before(() => {
        client = grpcClient(ports.get(hops)!, 'calc.mesh');
      });
      after(() => client.close());

      it('carries a unary call with metadata both ways, and trailers', async () => {
        const metadata = new Metadata();
        metadata.set('x-asked', 'yes');
        metadata.set('x-bytes-bin', Buffer.from([0, 200, 255]));
        const { message, initial, trailing } = await unary(client, 'hello', metadata);
        assert.equal(message, 'hello');
        assert.deepEqual(initial.get('x-initial'), ['before']);
        assert.deepEqual(trailing.get('x-trailer'), ['behind']);
        assert.deepEqual(trailing.get('x-detail-bin'), [Buffer.from([0, 1, 255])]);
        const seen = origin.metadata.at(-1)!;
        assert.deepEqual(seen.get('x-asked'), ['yes']);
        assert.deepEqual(seen.get('x-bytes-bin'), [Buffer.from([0, 200, 255])]);
        const caller = hops === 'two hops' ? 'svc/web' : 'node/b';
        assert.deepEqual(seen.get('x-forwarded-client-cert'), [
          `By=spiffe://mesh.internal/svc/calc;URI=spiffe://mesh.internal/${caller}`,
        ]);
      });

      it("carries the server's error, with details and trailers", async () => {
        const error = await errorOf(unary(client, 'fail'));
        assert.equal(error.code, status.FAILED_PRECONDITION);
        assert.equal(error.details, 'not so, naïve');
        assert.deepEqual(error.metadata.get('x-trailer'), ['behind']);
      });

      it('carries 100 calls at once', async () => {
        const texts = Array.from({ length: 100 }, (_, i) => `call ${i}`);
        const answers = await Promise.all(texts.map((text) => unary(client, text)));
        assert.deepEqual(
          answers.map(({ message }) => message),
          texts,
        );
      });

      it('carries messages of megabytes', async () => {
        assert.equal((await unary(client, 'big')).message.length, 3_000_000);
        assert.equal((await unary(client, Buffer.alloc(3_000_000, 'u'))).message.length, 3_000_000);
      });

      it('carries a client stream', async () => {
        const messages = Array.from({ length: 200 }, () => Buffer.alloc(10_000));
        assert.equal(await collect(client, messages), '2000000');
      });

      it('carries a server stream to a reader that pauses', async () => {
        const call = count(client, 20_000);
        let seen = 0;
        for await (const message of call as AsyncIterable<Buffer>) {
          assert.equal(message.toString(), String(++seen));
          if (seen % 5_000 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
        }
        assert.equal(seen, 20_000);
      });

      it('carries a conversation, message by message', async () => {
        const call = chat(client);
        const answers = (call as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
        for (let i = 0; i < 50; i++) {
          call.write(Buffer.from(`turn ${i}`));
          assert.equal(String((await answers.next()).value), `turn ${i}`);
        }
        call.end();
        assert.equal((await answers.next()).done, true);
      });

      it('lets a deadline pass, and the server see it', async () => {
        const before = origin.cancelled();
        const error = await errorOf(unary(client, 'hang', new Metadata(), 200));
        assert.equal(error.code, status.DEADLINE_EXCEEDED);
        await eventually(() => assert.ok(origin.cancelled() > before));
      });

      it('takes a cancellation to the server', async () => {
        const before = origin.cancelled();
        const call = chat(client);
        const ended = new Promise<ServiceError>((resolve) => {
          call.on('error', (error) => resolve(error as ServiceError));
        });
        await new Promise((resolve) => {
          call.once('data', resolve);
          call.write(Buffer.from('there?'));
        });
        call.cancel();
        assert.equal((await ended).code, status.CANCELLED);
        await eventually(() => assert.equal(origin.cancelled(), before + 1));
      });

      it('does not cut an answer that comes late, unless a timeout is written down', async () => {
        const late = new Metadata();
        late.set('late', '700');
        await apply({ 'config/mesh': { defaults: { timeout: '200ms' } } });
        assert.equal(await collect(client, [Buffer.alloc(5)], late), '5');
        await apply({ 'config/services/calc': { timeout: '200ms' } });
        const error = await errorOf(collect(client, [Buffer.alloc(5)], late));
        await apply();
        assert.equal(error.code, status.DEADLINE_EXCEEDED);
        assert.equal(error.details, 'the service did not answer in time');
        assert.deepEqual(error.metadata.get('x-gatemesh-reason'), ['UT']);
      });

      it('is told in gRPC what a gateway found', async () => {
        const rows = [
          ['unknown.mesh', {}, status.UNIMPLEMENTED, 'NR'],
          ['nobody.mesh', {}, status.UNAVAILABLE, 'UH'],
          [
            'calc.mesh',
            { 'config/intentions/calc': { allow: ['somebody'] } },
            status.PERMISSION_DENIED,
            'DENIED',
          ],
          [
            'calc.mesh',
            { 'nodes/b/instances/calc/i1': instance(meshPort, 1, { protocol: 'grpc' }) },
            status.UNAVAILABLE,
            'UF',
          ],
        ] as const;
        for (const [host, documents, code, reason] of rows) {
          await apply(documents);
          const other = grpcClient(ports.get(hops)!, host);
          const error = await errorOf(unary(other, 'x'));
          other.close();
          assert.deepEqual([error.code, error.metadata.get('x-gatemesh-reason')], [code, [reason]]);
        }
        await apply();
      });
    });
  }

  it('goes on when the server closed its connections', async () => {
    const client = grpcClient(ports.get('two hops')!, 'calc.mesh');
    await unary(client, 'before');
    origin.close();
    const error = await errorOf(unary(client, 'during'));
    assert.equal(error.code, status.UNAVAILABLE);
    origin = await startGrpcOrigin();
    await apply();
    assert.equal((await unary(client, 'after')).message, 'after');
    client.close();
  });
});
