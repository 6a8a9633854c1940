import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fullJitter } from '#kit/backoff.ts';

describe('fullJitter', () => {
  // Base 100 ms, at most 5 s.
  const cases: readonly (readonly [name: string, attempt: number, draw: number, waitMs: number])[] =
    [
      ['the first retry waits up to the base', 0, 0.999, 100],
      ['the second up to twice that', 1, 0.999, 200],
      ['half a draw is half the wait', 3, 0.5, 400],
      ['the ceiling holds', 6, 0.999, 4_995],
      ['for ever', 1_000_000, 0.999, 4_995],
      ['a draw of nothing still waits', 3, 0, 1],
    ];
  for (const [name, attempt, draw, waitMs] of cases) {
    it(name, () => {
      assert.equal(
        fullJitter(attempt, 100, 5_000, () => draw),
        waitMs,
      );
    });
  }

  it('draws once', () => {
    let draws = 0;
    fullJitter(2, 100, 5_000, () => {
      draws++;
      return 0.5;
    });
    assert.equal(draws, 1);
  });
});
