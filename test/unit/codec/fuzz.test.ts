import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { BadMessage } from '../../../gateway/worker/codec/bad-message.ts';
import { ChunkDecoder } from '../../../gateway/worker/codec/chunked.ts';
import { EDGE_RULES } from '../../../gateway/worker/codec/header-rules.ts';
import { RequestHead } from '../../../gateway/worker/codec/request-head.ts';

const SEED = Number(process.env['GATEMESH_FUZZ_SEED'] ?? 20_261_122);
const RUNS = { seed: SEED, numRuns: 1500 };

/** Pieces that mean something to a parser, and any bytes at all. */
const pieces = (words: readonly string[], most = 14): fc.Arbitrary<string> =>
  fc
    .array(
      fc.oneof(
        { weight: 6, arbitrary: fc.constantFrom(...words) },
        {
          weight: 1,
          arbitrary: fc.uint8Array({ maxLength: 4 }).map((b) => Buffer.from(b).toString('latin1')),
        },
      ),
      { maxLength: most },
    )
    .map((parts) => parts.join(''));

function outcomeOf<T>(run: () => T): T | string {
  try {
    return run();
  } catch (error) {
    if (error instanceof BadMessage) return `${error.status} ${error.message}`;
    throw error;
  }
}

describe(`what comes in, seed ${SEED}`, () => {
  it('is a request head of one reading, or refused', () => {
    const some = pieces(
      [
        'Host: a\r\n',
        'host:b\r\n',
        'Content-Length: 3\r\n',
        'content-length: +3\r\n',
        'Transfer-Encoding: chunked\r\n',
        'transfer_encoding: chunked\r\n',
        'Connection: x-a, close\r\n',
        'X-A: b\r\n',
        'x-forwarded-client-cert: f\r\n',
        'x_gatemesh_a: f\r\n',
        ' c\r\n',
        'a\n',
        '\r',
        ':',
        ' ',
      ],
      4,
    );
    const field = fc
      .tuple(fc.constantFrom('', 'Host: a\r\n', 'Host: a\r\n'), some)
      .map((parts) => parts.join(''));
    const line = pieces([
      'GET',
      'POST',
      ' ',
      '/',
      '*',
      'http://a/',
      '/%2e',
      '%61',
      '//',
      '?',
      '#',
      ' HTTP/1.1\r\n',
      ' HTTP/1.0\r\n',
    ]);
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.oneof(line, fc.constantFrom('GET / HTTP/1.1\r\n', 'POST /a%7e//b?c HTTP/1.1\r\n')),
        field,
        (first, fields) => {
          const bytes = Buffer.from(`${first}${fields}\r\n`, 'latin1');
          const end = bytes.indexOf('\r\n\r\n') + 2;
          if (end < 2) return;
          const head = new RequestHead();
          const why = outcomeOf(() => head.parse(bytes, 0, end, EDGE_RULES));
          if (typeof why === 'string') return;
          accepted++;
          const forwarded = `${head.method} ${head.target} HTTP/1.1\r\nhost: ${head.authority}\r\n${head.lines}`;
          assert.match(
            forwarded,
            /^[!-9;-~]+ [!-~]+ HTTP\/1\.1\r\nhost: [\w.:[\]-]*\r\n(?:[!-9;-~]+:[\t -~\x80-\xff]*\r\n)*$/,
          );
          assert.doesNotMatch(
            head.lines,
            /^(?:host|content.length|transfer.encoding|connection|x.gatemesh.*|x.forwarded.*)[ \t]*:/im,
          );
          assert.ok(!(head.isChunked && head.contentLength >= 0));
          // What we send is read by ourselves in the same way.
          const again = new RequestHead();
          const sent = Buffer.from(forwarded, 'latin1');
          if (head.authority === '') return;
          again.parse(sent, 0, sent.length, EDGE_RULES);
          assert.deepEqual(
            [again.method, again.target, again.lines],
            [head.method, head.target, head.lines],
          );
        },
      ),
      RUNS,
    );
    assert.ok(accepted > 50, `only ${accepted} were requests`);
  });

  it('is the same chunked body however it is cut', () => {
    const body = pieces([
      '5\r\nhello\r\n',
      '0\r\n',
      '\r\n',
      '1;x=y\r\na\r\n',
      '3\r\nab',
      'X-A: b\r\n',
      'Content-Length: 3\r\n',
      'g\r\n',
      '-1\r\n',
      '0x3\r\n',
      '\n',
      'GET / HTTP/1.1\r\n',
    ]);
    const decode = (bytes: Buffer, cuts: readonly number[]): string => {
      const decoder = new ChunkDecoder();
      decoder.reset();
      let data = '';
      const sink = {
        data: (b: Buffer, s: number, e: number): void => void (data += b.latin1Slice(s, e)),
      };
      const failed = outcomeOf(() => {
        let at = 0;
        for (const cut of [
          ...cuts.map((c) => c % (bytes.length + 1)).toSorted((x, y) => x - y),
          bytes.length,
        ]) {
          // Each piece in a buffer of its own: nothing may be read behind its end.
          const piece = Buffer.from(bytes.subarray(at, cut));
          const eaten = decoder.feed(piece, 0, piece.length, sink);
          if (decoder.done) return `done ${at + eaten}`;
          assert.equal(eaten, piece.length);
          at = cut;
        }
        return 'more';
      });
      return JSON.stringify([failed, data, decoder.done ? decoder.trailers : '']);
    };
    fc.assert(
      fc.property(body, fc.array(fc.nat({ max: 80 }), { maxLength: 8 }), (text, cuts) => {
        const bytes = Buffer.from(text, 'latin1');
        assert.equal(decode(bytes, cuts), decode(bytes, []));
      }),
      RUNS,
    );
  });
});
