import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { printable, relative, roughly, table } from '../../../gateway/cli/format.ts';

describe('format', () => {
  it('aligns columns, without spaces at the end', () => {
    assert.deepEqual(
      table(
        [
          ['a', 'long', 'x'],
          ['bb', '', ''],
        ],
        ' ',
      ),
      [' a   long  x', ' bb'],
    );
  });

  it('shows control characters instead of sending them', () => {
    assert.equal(printable('a\x1b[2Jb\nc\x9bd\u202e'), 'a\\x1b[2Jb\\x0ac\\x9bd\\u202e');
    assert.deepEqual(table([['a\nFAIL']]), ['a\\x0aFAIL']);
  });

  const rows: readonly [seconds: number, text: string][] = [
    [-1, '0s'],
    [0.42, '0.4s'],
    [9.99, '9.9s'],
    [10, '10s'],
    [60, '1m'],
    [3_599, '59m 59s'],
    [3_601, '1h'],
    [90_000, '1d 1h'],
  ];
  for (const [seconds, text] of rows) {
    it(`${seconds} s is ${text}`, () => assert.equal(roughly(seconds), text));
  }

  it('is relative to now, both ways', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    assert.equal(relative('2026-01-01T00:01:00Z', now), 'in 1m');
    assert.equal(relative('2025-12-31T23:00:00Z', now), '1h ago');
    assert.equal(relative('soon', now), 'soon');
  });
});
