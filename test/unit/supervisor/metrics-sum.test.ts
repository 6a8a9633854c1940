import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { WorkerMetrics } from '../../../gateway/ipc.ts';
import { countersOf, NO_METRICS, sumMetrics } from '../../../gateway/supervisor/metrics-sum.ts';

const LABELS = { direction: 'egress', source: 'web', destination: 'orders', route: 'r' } as const;

const ONE: WorkerMetrics = {
  requests: [{ ...LABELS, code: '200', reason: '', count: 3 }],
  bounds: [0.1, 1],
  durations: [{ ...LABELS, buckets: [2, 1, 0], sum: 0.5, requestBytes: 10, responseBytes: 20 }],
  activeRequests: 2,
  connections: [{ listener: 'mesh', open: 4 }],
  retries: [{ destination: 'orders', count: 1 }],
  endpoints: [{ service: 'orders', instance: 'a', ejected: false }],
};

describe('sumMetrics', () => {
  it('adds label set by label set', () => {
    const other: WorkerMetrics = {
      ...ONE,
      requests: [
        { ...LABELS, code: '200', reason: '', count: 4 },
        { ...LABELS, code: '503', reason: 'UH', count: 1 },
      ],
      endpoints: [{ service: 'orders', instance: 'a', ejected: true }],
    };
    assert.deepEqual(sumMetrics([NO_METRICS, ONE, other]), {
      requests: [
        { ...LABELS, code: '200', reason: '', count: 7 },
        { ...LABELS, code: '503', reason: 'UH', count: 1 },
      ],
      bounds: [0.1, 1],
      durations: [{ ...LABELS, buckets: [4, 2, 0], sum: 1, requestBytes: 20, responseBytes: 40 }],
      activeRequests: 4,
      connections: [{ listener: 'mesh', open: 8 }],
      retries: [{ destination: 'orders', count: 2 }],
      endpoints: [{ service: 'orders', instance: 'a', ejected: true }],
    });
  });

  it('of nothing is nothing', () => {
    assert.deepEqual(sumMetrics([]), NO_METRICS);
  });
});

describe('countersOf', () => {
  it('keeps what only grows', () => {
    assert.deepEqual(countersOf(ONE), {
      ...ONE,
      activeRequests: 0,
      connections: [],
      endpoints: [],
    });
  });
});
