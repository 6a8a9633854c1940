import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRng } from '#kit/rng.ts';
import { compileRoute } from '../../../gateway/worker/routing/compiled-route.ts';
import { pickDestination } from '../../../gateway/worker/routing/split.ts';
import { route } from './routes.ts';

function compiled(weights: readonly number[]) {
  const to = weights.map((weight, i) => ({ service: 'orders', subset: `v${i}`, weight }));
  return compileRoute(route('canary', { to }));
}

describe('pickDestination', () => {
  it('draws nothing when there is a single one', () => {
    const { destinations } = compiled([1]);
    assert.equal(pickDestination(compiled([1]), assert.fail).subset, destinations[0]!.subset);
  });

  const edges: readonly [weights: readonly number[], draw: number, subset: string][] = [
    [[1, 1], 0, 'v0'],
    [[1, 1], 0.4999, 'v0'],
    [[1, 1], 0.5, 'v1'],
    [[0, 1, 0], 0, 'v1'],
    [[0, 1, 0], 1 - 2 ** -53, 'v1'],
    [[3, 0, 7], 0.3, 'v2'],
    [[3, 0, 7], 1 - 2 ** -53, 'v2'],
    [[1_000_000, 999_999, 1], 1 - 2 ** -53, 'v2'],
  ];
  for (const [weights, draw, subset] of edges) {
    it(`${weights.join(':')} at ${draw}`, () => {
      assert.equal(pickDestination(compiled(weights), () => draw).subset, subset);
    });
  }

  // Critical values of χ² at p = 0.01 for 1, 2 and 3 degrees of freedom (NIST/SEMATECH e-Handbook 1.3.6.7.4).
  const CRITICAL = [0, 6.635, 9.21, 11.345];
  for (const weights of [
    [90, 10],
    [50, 50],
    [95, 5],
    [1, 3, 6],
    [1, 1, 1, 97],
  ]) {
    it(`fits ${weights.join(':')} over 100,000 draws`, () => {
      const split = compiled(weights);
      const rng = seededRng(17);
      const counts = weights.map(() => 0);
      for (let i = 0; i < 100_000; i++) {
        counts[split.destinations.indexOf(pickDestination(split, rng))]!++;
      }
      const chiSquare = weights.reduce((sum, weight, i) => {
        const expected = (100_000 * weight) / split.totalWeight;
        return sum + (counts[i]! - expected) ** 2 / expected;
      }, 0);
      assert.ok(chiSquare < CRITICAL[weights.length - 1]!, `${counts.join(' ')}: χ² ${chiSquare}`);
    });
  }
});
