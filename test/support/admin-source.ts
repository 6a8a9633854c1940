import type { AdminSource, StatusReport } from '../../gateway/admin/source.ts';
import type { Explanation, WorkerMetrics } from '../../gateway/ipc.ts';

/** A healthy node as its admin API would show it. */
export const STATUS: StatusReport = {
  node: 'vm-a',
  zone: 'dc1-a',
  version: '0.1.0',
  trustDomain: 'mesh.internal',
  gateway: 'public',
  uptimeSeconds: 7_384,
  draining: false,
  fileProblem: null,
  registry: {
    name: 'etcd at http://127.0.0.1:2379',
    connected: true,
    revision: 41,
    applied: 41,
    source: 'registry',
    staleSeconds: 0.4,
    held: null,
    rejected: [],
  },
  identities: [
    {
      identity: 'spiffe://mesh.internal/svc/web',
      notBefore: '2026-11-22T00:00:00Z',
      notAfter: '2026-11-23T00:00:00Z',
      nextRenewal: '2026-11-22T12:10:00Z',
      lastError: null,
    },
  ],
  workers: [{ pid: 4242, state: 'running' }],
  instances: [
    {
      service: 'web',
      id: 'web-1',
      address: '127.0.0.1:8080',
      state: 'ready',
      health: 'passing',
      since: '2026-11-22T04:00:00Z',
      lastError: null,
    },
  ],
  listeners: [{ id: 'mesh', kind: 'mesh', address: '10.0.0.1:15443', error: null }],
  nodes: [
    { name: 'vm-a', address: '10.0.0.1:15443', zone: 'dc1-a', version: '0.1.0' },
    { name: 'vm-b', address: '10.0.0.2:15443', zone: 'dc1-b', version: '0.1.0' },
  ],
};

export const EXPLANATION: Explanation = {
  request: { method: 'GET', host: 'orders.mesh', path: '/x', source: 'web' },
  considered: [
    { route: 'orders-canary', matched: false, why: 'header x-canary: wanted "1", got nothing' },
    { route: 'orders', matched: true, why: 'host and path match' },
  ],
  route: 'orders',
  destinations: [
    {
      service: 'orders',
      subset: 'v1',
      share: 95,
      authorised: { allowed: true, why: 'intention orders allows web' },
      endpoints: [
        {
          instance: 'orders-1',
          node: 'vm-b',
          address: '10.0.0.2:15443',
          weight: 100,
          usable: true,
          why: 'passing',
        },
        {
          instance: 'orders-2',
          node: 'vm-c',
          address: '10.0.0.3:15443',
          weight: 100,
          usable: false,
          why: 'ejected for 10s: 5 errors in a row',
        },
      ],
    },
    {
      service: 'orders',
      subset: 'v2',
      share: 5,
      authorised: { allowed: false, why: 'no intention for orders names web' },
      endpoints: [],
    },
  ],
  outcome: '95 % reach an endpoint, 5 % get 403 DENIED',
};

export const WORKER_METRICS: WorkerMetrics = {
  requests: [
    {
      direction: 'egress',
      source: 'web',
      destination: 'orders',
      route: 'orders',
      code: '200',
      reason: '',
      count: 7,
    },
  ],
  bounds: [0.001, 0.01],
  durations: [
    {
      direction: 'egress',
      source: 'web',
      destination: 'orders',
      route: 'orders',
      buckets: [4, 2, 1],
      sum: 0.5,
      requestBytes: 10,
      responseBytes: 2_048,
    },
  ],
  activeRequests: 3,
  connections: [{ listener: 'mesh', open: 5 }],
  retries: [{ destination: 'orders', count: 2 }],
  endpoints: [{ service: 'orders', instance: 'orders-2', ejected: true }],
};

/** An AdminSource of a healthy node; `changes` replaces single answers. */
export function fakeSource(changes: Partial<AdminSource> = {}): AdminSource {
  return {
    ready: () => ({ ready: true, why: [], warnings: [] }),
    status: () => STATUS,
    config: () => ({
      revision: 41,
      source: 'registry',
      documents: {
        'config/intentions/orders': {
          kind: 'intentions',
          document: { name: 'orders', mode: 'enforce', allow: [], deny: [], default: 'deny' },
        },
      },
    }),
    explain: async () => EXPLANATION,
    workerMetrics: async () => WORKER_METRICS,
    endpointHealth: () => [{ service: 'web', instance: 'web-1', up: true }],
    certificates: () => [
      {
        kind: 'leaf',
        identity: 'spiffe://mesh.internal/svc/web',
        notAfterMs: Date.UTC(2026, 10, 23),
      },
    ],
    nodeAdminTarget: () => undefined,
    ...changes,
  };
}
