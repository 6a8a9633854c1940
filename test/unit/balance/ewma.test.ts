import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { latencyRatio } from '../../../gateway/worker/balance/ewma.ts';

describe('latencyRatio', () => {
  // Latency and time of the last answer of either; three seconds of age count e = 2.72 times, and 5 ms are noise.
  type Side = readonly [latencyMs: number, sampledAtMs: number];
  const cases: readonly [name: string, first: Side, second: Side, ratio: number][] = [
    ['of answers just given', [25, 50_000], [5, 50_000], 3],
    ['the other way round', [5, 50_000], [25, 50_000], 0.33],
    ['1 before the first answer', [30, 50_000], [0, 0], 1],
    ['1 before its own first answer', [0, 0], [30, 50_000], 1],
    ['a slow one is forgiven with age', [95, 47_000], [5, 50_000], 3.68],
    ['but becomes no better than the other', [100, 0], [10, 50_000], 1],
    ['the same seen from the fast one', [5, 50_000], [95, 47_000], 0.27],
    ['and no worse than the other', [10, 50_000], [100, 0], 1],
    ['age does not make a fast one faster', [5, 0], [15, 50_000], 0.5],
    ['nor a slow one slower', [15, 50_000], [5, 0], 2],
    ['a millisecond more or less is noise', [2, 50_000], [1, 50_000], 1.17],
    ['two that are alike stay alike', [10, 0], [10, 50_000], 1],
  ];
  for (const [name, [latencyMs, atMs], [otherMs, otherAtMs], ratio] of cases) {
    it(name, () => {
      const got = latencyRatio(latencyMs, atMs, otherMs, otherAtMs);
      assert.equal(Math.round(got * 100) / 100, ratio);
    });
  }
});
