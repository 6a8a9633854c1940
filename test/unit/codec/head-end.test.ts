import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { headEnd } from '../../../gateway/worker/codec/head-end.ts';

const pieces = fc
  .array(fc.constantFrom('\r', '\n', 'a', 'bc', '\r\n', '\r\n\r\n'), { maxLength: 24 })
  .map((parts) => parts.join(''));

describe('the end of a head', () => {
  it('is the first empty line, wherever the bytes begin and end', () => {
    fc.assert(
      fc.property(pieces, pieces, pieces, (before, head, behind) => {
        const bytes = Buffer.from(before + head + behind, 'latin1');
        const end = before.length + head.length;
        const found = head.indexOf('\r\n\r\n');
        const wanted = found < 0 ? -1 : before.length + found;
        assert.equal(headEnd(bytes, before.length, end, 431), wanted);
      }),
      { numRuns: 5_000 },
    );
  });
});
