import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chiSquareSurvival, fitShares, quantile } from '../../support/statistics.ts';

describe('chiSquareSurvival', () => {
  // Critical values as printed in any table of the distribution (Abramowitz and Stegun 26.8).
  const table: readonly [degrees: number, x: number, p: number][] = [
    [1, 3.841, 0.05],
    [1, 6.635, 0.01],
    [1, 0.0157, 0.9003],
    [2, 5.991, 0.05],
    [3, 16.266, 0.001],
    [10, 18.307, 0.05],
    [30, 43.773, 0.05],
  ];
  for (const [degrees, x, p] of table) {
    it(`${degrees} degrees at ${x} is ${p}`, () => {
      const got = chiSquareSurvival(x, degrees);
      assert.ok(Math.abs(got - p) < p * 2e-3, `${got}`);
    });
  }

  it('2 degrees has the closed form exp(-x/2) over its whole range', () => {
    for (const x of [0.001, 0.5, 2, 3.9, 4.1, 20, 200]) {
      const exact = Math.exp(-x / 2);
      assert.ok(Math.abs(chiSquareSurvival(x, 2) - exact) < 1e-12 + exact * 1e-10, `${x}`);
    }
  });
});

describe('fitShares', () => {
  it('takes counts as even as they come', () => {
    assert.equal(fitShares([900, 100], [90, 10]).p, 1);
  });

  it('knows a fit that is off by four standard deviations', () => {
    assert.ok(fitShares([5200, 4800], [1, 1]).p < 1e-4);
  });

  it('forgives nothing on a side of weight 0', () => {
    assert.equal(fitShares([9_999, 1], [100, 0]).p, 0);
    assert.equal(fitShares([10_000, 0], [100, 0]).p, 1);
  });
});

describe('quantile', () => {
  it('is the nearest rank', () => {
    assert.equal(quantile([5, 1, 4, 2, 3], 0.5), 3);
    assert.equal(quantile([5, 1, 4, 2, 3], 0.99), 5);
    assert.equal(quantile([5, 1, 4, 2, 3], 0), 1);
  });
});
