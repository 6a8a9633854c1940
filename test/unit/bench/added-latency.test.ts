import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { OpenLoopRun } from '../../bench/loads/open-loop-main.ts';
import { added } from '../../bench/methods/added-latency.ts';

const report = (p50: number, p99: number): OpenLoopRun => ({
  requests: 1,
  p50,
  p99,
  max: p99,
  lateP50: 0,
  lateP99: 0,
  waited: 0,
  awayPercent: 0,
});

describe('added latency', () => {
  it('is through the proxy less without it, and both are stated', () => {
    const { values, seen } = added(report(90, 300), report(20, 80));
    assert.deepEqual(values, { p50: 70, p99: 220 });
    assert.deepEqual([seen['p99'], seen['without proxy p99']], [300, 80]);
  });
});
