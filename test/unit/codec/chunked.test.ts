import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ChunkDecoder } from '../../../gateway/worker/codec/chunked.ts';

/** Feeds the text in the given pieces; returns the body, the trailers, and what was left over. */
function decode(pieces: readonly string[]): {
  body: string;
  trailers: string;
  left: string;
  done: boolean;
} {
  const decoder = new ChunkDecoder();
  decoder.reset();
  let body = '';
  const sink = {
    data: (bytes: Buffer, start: number, end: number) =>
      void (body += bytes.latin1Slice(start, end)),
  };
  let left = '';
  for (const piece of pieces) {
    const bytes = Buffer.from(piece, 'latin1');
    const eaten = decoder.done ? 0 : decoder.feed(bytes, 0, bytes.length, sink);
    left += bytes.latin1Slice(eaten, bytes.length);
  }
  return { body, trailers: decoder.trailers, left, done: decoder.done };
}

describe('ChunkDecoder', () => {
  it('takes the coding off, however the bytes are cut', () => {
    const whole = '5;ext=1\r\nhello\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\nGET / ';
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(whole.length), { maxLength: 12 }), (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), whole.length];
        const pieces = at.slice(1).map((end, i) => whole.slice(at[i], end));
        assert.deepEqual(decode(pieces), {
          body: 'hello0123456789',
          trailers: 'x-sum: 1\r\n',
          left: 'GET / ',
          done: true,
        });
      }),
    );
  });

  it('drops trailers that would speak for a gateway', () => {
    const { trailers } = decode(['0\r\nX-Forwarded-For: 1\r\nx-ok: 1\r\nSet-Cookie: a=b\r\n\r\n']);
    assert.equal(trailers, 'x-ok: 1\r\n');
  });

  const refused: readonly (readonly [name: string, text: string, why: string])[] = [
    ['a size with a sign', '+5\r\n', 'a chunk size is not hexadecimal'],
    ['a size with 0x', '0x5\r\n', 'a chunk size is not hexadecimal'],
    ['an empty size', '\r\n', 'a chunk size is not hexadecimal'],
    ['a space behind the size', '5 \r\nhello\r\n', 'a chunk size is not hexadecimal'],
    ['a bare LF behind the size', '5\nhello\r\n', 'a chunk size is not hexadecimal'],
    ['CR without LF behind the size', '5\rhello', 'a chunk size does not end with CRLF'],
    ['data longer than its size', '3\r\nhello\r\n', 'a chunk does not end with CRLF'],
    ['a bare LF behind the data', '5\r\nhello\n0\r\n\r\n', 'a chunk does not end with CRLF'],
    ['a size nobody can mean', `${'F'.repeat(13)}\r\n`, 'a chunk is larger than can be'],
    [
      'an endless extension',
      `5;${'a'.repeat(300)}`,
      'a chunk extension has a control character or is too long',
    ],
    [
      'a bare LF in an extension',
      '5;a\nb\r\n',
      'a chunk extension has a control character or is too long',
    ],
    [
      'a framing field as a trailer',
      '0\r\nContent-Length: 5\r\n\r\n',
      'a framing or routing field as a trailer',
    ],
    ['endless trailers', `0\r\n${'a: b\r\n'.repeat(2000)}`, 'the trailers are too long'],
  ];
  for (const [name, text, why] of refused) {
    it(`refuses ${name}`, () =>
      assert.throws(() => decode([text]), { name: 'BadMessage', message: why }));
  }
});
