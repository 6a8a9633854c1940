import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it, type TestContext } from 'node:test';
import { createLog } from '#kit/log.ts';
import { startAdmin } from '../../gateway/admin/server.ts';
import type { AdminSource } from '../../gateway/admin/source.ts';
import type { WorkerMetrics } from '../../gateway/ipc.ts';
import { fakeSource, STATUS, WORKER_METRICS } from '../support/admin-source.ts';

async function scrape(
  t: TestContext,
  changes: Partial<AdminSource> = {},
): Promise<() => Promise<string>> {
  const listen = { host: '127.0.0.1', port: 0 };
  const log = createLog({ level: 'silent' });
  const admin = await startAdmin(fakeSource(changes), { listen, log });
  t.after(() => admin.close());
  return async () => {
    const response = await fetch(`http://127.0.0.1:${admin.address.port}/metrics`);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
    return response.text();
  };
}

/** The lines of our own families, without HELP and TYPE. */
function ours(text: string): string[] {
  return text.split('\n').filter((line) => line.startsWith('gatemesh_'));
}

describe('/metrics', () => {
  it('carries what the workers counted and what the supervisor knows', async (t) => {
    const rejected = [
      { key: 'config/routes/shop', revision: 40, path: '$.to', error: 'x', using: null },
    ];
    const wanted = 'spiffe://mesh.internal/svc/orders';
    const none = { identity: wanted, notBefore: null, notAfter: null, nextRenewal: null };
    const status = {
      ...STATUS,
      registry: { ...STATUS.registry, rejected },
      identities: [...STATUS.identities, { ...none, lastError: 'refused' }],
    };
    const text = await (await scrape(t, { status: () => status }))();
    const path = 'source="web",destination="orders",route="orders",direction="egress"';
    assert.deepEqual(ours(text), [
      `gatemesh_build_info{version="0.1.0",node_version="${process.version}"} 1`,
      'gatemesh_registry_connected 1',
      'gatemesh_config_revision 41',
      'gatemesh_config_stale_seconds 0.4',
      'gatemesh_config_rejected{key="config/routes/shop"} 1',
      'gatemesh_certificate_not_after_timestamp_seconds{kind="leaf",identity="spiffe://mesh.internal/svc/web"} 1795392000',
      'gatemesh_certificate_missing{identity="spiffe://mesh.internal/svc/orders"} 1',
      'gatemesh_endpoint_up{service="web",instance="web-1"} 1',
      'gatemesh_requests_total{source="web",destination="orders",route="orders",code="200",reason="",direction="egress"} 7',
      `gatemesh_request_bytes_total{${path}} 10`,
      `gatemesh_response_bytes_total{${path}} 2048`,
      'gatemesh_retries_total{destination="orders"} 2',
      'gatemesh_active_requests 3',
      'gatemesh_connections{listener="mesh"} 5',
      'gatemesh_endpoint_ejected{service="orders",instance="orders-2"} 1',
      `gatemesh_request_duration_seconds_bucket{${path},le="0.001"} 4`,
      `gatemesh_request_duration_seconds_bucket{${path},le="0.01"} 6`,
      `gatemesh_request_duration_seconds_bucket{${path},le="+Inf"} 7`,
      `gatemesh_request_duration_seconds_sum{${path}} 0.5`,
      `gatemesh_request_duration_seconds_count{${path}} 7`,
    ]);
    assert.match(text, /^process_resident_memory_bytes \d+/m);
    assert.match(text, /^process_cpu_seconds_total [\d.]+/m);
  });

  it('is clean for promtool', async (t) => {
    const input = await (await scrape(t))();
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      input,
      encoding: 'utf8',
    });
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' });
  });

  it('reads the numbers at each scrape and does not add them up', async (t) => {
    let count = 1;
    const workerMetrics = async (): Promise<WorkerMetrics> => ({
      ...WORKER_METRICS,
      requests: WORKER_METRICS.requests.map((row) => ({ ...row, count })),
    });
    const read = await scrape(t, { workerMetrics });
    assert.match(await read(), /^gatemesh_requests_total\{.*\} 1$/m);
    count = 9;
    assert.match(await read(), /^gatemesh_requests_total\{.*\} 9$/m);
  });

  it('never was current: stale without end', async (t) => {
    const registry = { ...STATUS.registry, connected: false, staleSeconds: null };
    const text = await (await scrape(t, { status: () => ({ ...STATUS, registry }) }))();
    assert.match(text, /^gatemesh_config_stale_seconds \+Inf$/m);
    assert.match(text, /^gatemesh_registry_connected 0$/m);
  });

  it('still has the rest while no worker answers', async (t) => {
    const read = await scrape(t, { workerMetrics: () => Promise.reject(new Error('silent')) });
    const text = await read();
    assert.match(text, /^gatemesh_config_revision 41$/m);
    assert.doesNotMatch(text, /gatemesh_requests_total/);
  });

  it('has at most 2000 series of a family and loses no request', async (t) => {
    const requests = Array.from({ length: 2_100 }, (_, i) => ({
      ...WORKER_METRICS.requests[0]!,
      route: `r${i}`,
      count: 1,
    }));
    const workerMetrics = async (): Promise<WorkerMetrics> => ({ ...WORKER_METRICS, requests });
    const text = await (await scrape(t, { workerMetrics }))();
    const lines = ours(text).filter((line) => line.startsWith('gatemesh_requests_total'));
    assert.equal(lines.length, 2_001);
    assert.ok(
      lines.includes(
        'gatemesh_requests_total{source="other",destination="other",route="other",code="other",reason="other",direction="egress"} 100',
      ),
    );
  });
});
