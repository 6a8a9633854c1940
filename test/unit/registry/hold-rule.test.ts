import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judge, suspicion, type Hold } from '../../../registry/hold-rule.ts';

describe('suspicion', () => {
  const cases: readonly {
    readonly name: string;
    /** Instances and routes in force, then how many of each are missing. */
    readonly counts: readonly [number, number, number, number];
    readonly reason: string | undefined;
  }[] = [
    { name: 'nothing missing', counts: [10, 5, 0, 0], reason: undefined },
    { name: 'half of the instances', counts: [10, 5, 5, 0], reason: undefined },
    {
      name: 'most instances',
      counts: [10, 5, 6, 1],
      reason: 'the registry came back without 6 of 10 instances and 1 of 5 routes',
    },
    {
      name: 'most instances of the smallest mesh it looks at',
      counts: [4, 0, 3, 0],
      reason: 'the registry came back without 3 of 4 instances and 0 of 0 routes',
    },
    { name: 'all instances of a mesh of three', counts: [3, 5, 3, 0], reason: undefined },
    { name: 'all routes but one', counts: [10, 5, 0, 4], reason: undefined },
    {
      name: 'the only route',
      counts: [0, 1, 0, 1],
      reason: 'the registry came back without 0 of 0 instances and 1 of 1 routes',
    },
    { name: 'an empty mesh', counts: [0, 0, 0, 0], reason: undefined },
  ];
  for (const { name, counts, reason } of cases) {
    it(name, () => {
      const [instances, routes, missingInstances, missingRoutes] = counts;
      const missing = new Set<string>();
      const reading = { instances, routes, missing, missingInstances, missingRoutes };
      assert.equal(suspicion(reading), reason);
    });
  }
});

describe('judge', () => {
  // Each reading: the time it was made, and which of the five instances a to e it misses.
  const histories: readonly {
    readonly name: string;
    readonly readings: readonly [atMs: number, missing: string][];
    readonly verdicts: string;
  }[] = [
    { name: 'believes a small loss at once', readings: [[0, 'ab']], verdicts: 'removed' },
    {
      name: 'believes a large loss at the third reading',
      readings: [
        [0, 'abcd'],
        [10_000, 'abcd'],
        [20_000, 'abcd'],
      ],
      verdicts: 'held held removed',
    },
    {
      name: 'does not count readings that come too soon',
      readings: [
        [0, 'abcd'],
        [9_999, 'abcd'],
        [10_000, 'abcd'],
        [11_000, 'abcd'],
        [20_000, 'abcd'],
      ],
      verdicts: 'held held held held removed',
    },
    {
      name: 'counts on when something came back',
      readings: [
        [0, 'abcde'],
        [10_000, 'abcd'],
        [20_000, 'abc'],
      ],
      verdicts: 'held held removed',
    },
    {
      name: 'begins again when more is missing',
      readings: [
        [0, 'abc'],
        [10_000, 'abc'],
        [20_000, 'abcd'],
        [30_000, 'abcd'],
        [40_000, 'abcd'],
      ],
      verdicts: 'held held held held removed',
    },
    {
      name: 'gives way as soon as little is missing',
      readings: [
        [0, 'abcd'],
        [1_000, 'ab'],
      ],
      verdicts: 'held removed',
    },
  ];
  for (const { name, readings, verdicts } of histories) {
    it(name, () => {
      let hold: Hold | undefined;
      const seen = readings.map(([atMs, letters]) => {
        const missing = new Set(letters);
        const missingInstances = missing.size;
        const reading = { instances: 5, routes: 2, missing, missingInstances, missingRoutes: 0 };
        const verdict = judge(hold, reading, atMs, 10_000);
        hold = verdict.hold;
        if (verdict.remove === undefined) return 'held';
        assert.deepEqual(verdict.remove, missing);
        return 'removed';
      });
      assert.equal(seen.join(' '), verdicts);
    });
  }
});
