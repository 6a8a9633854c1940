import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { latencyRatio } from '../../../gateway/worker/balance/ewma.ts';

describe('latencyRatio', () => {
  // Latency and time of the last answer of either; ten seconds of age count e = 2.72 times.
  type Side = readonly [latencyMs: number, sampledAtMs: number];
  const cases: readonly [name: string, first: Side, second: Side, ratio: number][] = [
    ['of answers just given', [30, 50_000], [10, 50_000], 3],
    ['the other way round', [10, 50_000], [30, 50_000], 0.33],
    ['1 before the first answer', [30, 50_000], [0, 0], 1],
    ['1 before its own first answer', [0, 0], [30, 50_000], 1],
    ['a slow one is forgiven with age', [100, 40_000], [10, 50_000], 3.68],
    ['but becomes no better than the other', [100, 0], [10, 50_000], 1],
    ['the same seen from the fast one', [10, 50_000], [100, 40_000], 0.27],
    ['and no worse than the other', [10, 50_000], [100, 0], 1],
    ['age does not make a fast one faster', [10, 0], [20, 50_000], 0.5],
    ['nor a slow one slower', [20, 50_000], [10, 0], 2],
    ['two that are alike stay alike', [10, 0], [10, 50_000], 1],
  ];
  for (const [name, [latencyMs, atMs], [otherMs, otherAtMs], ratio] of cases) {
    it(name, () => {
      const got = latencyRatio(latencyMs, atMs, otherMs, otherAtMs);
      assert.equal(Math.round(got * 100) / 100, ratio);
    });
  }
});
