import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  isValue,
  requestId,
  textLike,
  traceparent,
  valueText,
} from '../../../gateway/worker/codec/values.ts';

/** Read as it lies among other bytes. */
function within<T>(text: string, read: (bytes: Buffer, start: number, end: number) => T): T {
  const bytes = Buffer.from(`: ${text}\r\nx`, 'latin1');
  return read(bytes, 2, 2 + text.length);
}

const TRACEPARENT = '00-0123456789abcdef0123456789abcdef-0123456789abcdef-01';

describe('field values', () => {
  it('end before trailing white space', () => {
    assert.equal(within('a b \t ', valueText), 'a b');
    assert.equal(within(' ', valueText), '');
  });

  it('are compared without case, and whole', () => {
    const isClose = (text: string): boolean =>
      within(text, (bytes, start, end) => isValue(bytes, start, end, 'close'));
    for (const text of ['close', 'CLOSE', 'Close \t']) assert.ok(isClose(text), text);
    for (const text of ['clos', 'closed', 'close,', 'keep', '', ' close']) {
      assert.ok(!isClose(text), text);
    }
  });

  it('are the text of the last one when they are the same, else their own', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 8 }), fc.string({ maxLength: 8 }), (last, text) => {
        const latin1 = Buffer.from(text, 'latin1').toString('latin1');
        const got = within(latin1, (bytes, start, end) => textLike(last, bytes, start, end));
        assert.equal(got, latin1);
      }),
    );
  });

  it('are request ids when a log and a header could take them as they are', () => {
    for (const text of ['a', 'A-b_c.d:e@f=g+h/1', 'x'.repeat(128)]) {
      assert.equal(within(text, requestId), text);
    }
    assert.equal(within('abc \t', requestId), 'abc');
    for (const text of ['', 'x'.repeat(129), 'a b', 'a"b', 'a,b', 'ä', 'a\tb', '{}']) {
      assert.equal(within(text, requestId), '', text);
    }
  });

  it('are trace contexts by the letter of the standard', () => {
    assert.equal(within(TRACEPARENT, traceparent), TRACEPARENT);
    assert.equal(within(`${TRACEPARENT} `, traceparent), TRACEPARENT);
    const pattern = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
    const mutated = fc
      .tuple(fc.nat(TRACEPARENT.length - 1), fc.constantFrom('0', 'f', 'F', 'g', '-', ' ', 'ÿ', ''))
      .map(([at, by]) => TRACEPARENT.slice(0, at) + by + TRACEPARENT.slice(at + 1));
    const zeros = fc.constantFrom(
      `00-${'0'.repeat(32)}-0123456789abcdef-01`,
      `00-0123456789abcdef0123456789abcdef-${'0'.repeat(16)}-01`,
      `${TRACEPARENT}-00`,
      `01${TRACEPARENT.slice(2)}`,
    );
    fc.assert(
      fc.property(fc.oneof(mutated, zeros), (text) => {
        const trimmed = text.trimEnd();
        assert.equal(within(text, traceparent), pattern.test(trimmed) ? trimmed : '');
      }),
      { numRuns: 2_000 },
    );
  });
});
