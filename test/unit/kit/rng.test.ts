import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRng } from '#kit/rng.ts';

describe('seededRng', () => {
  const take = (seed: number, count: number): readonly number[] =>
    Array.from({ length: count }, seededRng(seed));

  it('repeats itself for a seed, and differs between seeds', () => {
    assert.deepEqual(take(7, 5), take(7, 5));
    assert.notDeepEqual(take(7, 5), take(8, 5));
  });

  it('does not get stuck on seed 0', () => {
    assert.equal(new Set(take(0, 100)).size, 100);
  });

  it('draws evenly from [0, 1)', () => {
    const draws = take(42, 10_000);
    assert.ok(draws.every((draw) => draw >= 0 && draw < 1));
    const tenths = new Array<number>(10).fill(0);
    for (const draw of draws) tenths[Math.floor(draw * 10)]!++;
    // Expected 1000 each; a standard deviation is 30.
    assert.ok(
      tenths.every((count) => count > 850 && count < 1150),
      tenths.join(' '),
    );
  });
});
