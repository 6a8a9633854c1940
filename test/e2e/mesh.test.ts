import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { formatAddress } from '#kit/address.ts';
import { startProcess, untilReady } from '../../gateway/demo/processes.ts';
import { accepts } from '../../gateway/demo/addresses.ts';
import { curl, curlJson } from '../support/curl.ts';
import { eventually } from '../support/eventually.ts';
import { startLoad, type Load, type PhaseReport } from '../support/load.ts';
import { mesh, type Mesh } from '../support/mesh.ts';
import { nginx, pythonFiles } from '../support/origins.ts';
import { freePorts, must, run } from '../support/processes.ts';
import { recordingRelay, tlsRecordProblem, type Relay } from '../support/relay.ts';
import { fitShares, quantile, type Fit } from '../support/statistics.ts';

const CANARY = 'config/routes/orders-canary';
const SAMPLE = 5_000;
/** Requests a second; two origins, two gateways and the load share the machine's cores with everything else. */
const RATE = 500;

const SUBSETS = { subsets: { v1: { version: '1' }, v2: { version: '2' } } };

function canary(v1: number, v2: number): object {
  return {
    host: 'orders.mesh',
    to: [
      { service: 'orders', subset: 'v1', weight: v1 },
      { service: 'orders', subset: 'v2', weight: v2 },
    ],
  };
}

let running: Mesh;
let relay: Relay;

before(async () => {
  running = await mesh()
    .node('vm-a')
    .node('vm-b')
    .node('vm-c')
    .service('web', { on: 'vm-a', origin: nginx('web') })
    .service('orders', { on: 'vm-b', version: '1', origin: nginx('orders-v1') })
    .service('orders', { on: 'vm-c', version: '2', origin: nginx('orders-v2') })
    .service('files', { on: 'vm-c', origin: pythonFiles('files') })
    .document('config/services/orders', SUBSETS)
    .document('config/routes/shop', { host: 'shop.example.com', gateways: ['public'], to: 'web' })
    .advertise('vm-b', async (target) => {
      relay = await recordingRelay(target);
      return relay.address;
    })
    .start();
});

after(async () => {
  await running?.stop();
  await relay?.close();
});

/** Runs `during` under load for `orders` from `web`, and gives what became of each phase's requests. */
async function underLoad(
  during: (load: Load) => Promise<void>,
  perSecond = RATE,
): Promise<ReadonlyMap<string, PhaseReport>> {
  const target = running.node('vm-a').webEgress;
  const load = await startLoad({ target, host: 'orders.mesh', perSecond });
  try {
    await during(load);
    return await load.stop();
  } finally {
    await load.kill();
  }
}

async function reaches(load: Load, phase: string, requests: number): Promise<void> {
  await eventually(async () => {
    const { requests: done } = await load.report(phase);
    assert.ok(done >= requests, `${done} of ${requests} requests in phase ${phase}`);
  }, 60_000);
}

function count(report: PhaseReport, name: string): number {
  return report.answers[name]?.count ?? 0;
}

function fit(report: PhaseReport, v1: number, v2: number): Fit {
  return fitShares([count(report, 'orders-v1'), count(report, 'orders-v2')], [v1, v2]);
}

function noFailures(reports: ReadonlyMap<string, PhaseReport>): void {
  const failures = [...reports].flatMap(([phase, { failures: failed }]) =>
    failed.map(({ what }) => `${phase}: ${what}`),
  );
  assert.deepEqual(failures, []);
}

describe('a request from one node to another', () => {
  it('reaches orders on vm-b and on vm-c from the egress of vm-a', async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 100; i++) {
      const { status, body } = await curl(running.node('vm-a').egress, { host: 'orders.mesh' });
      assert.equal(status, 200, body);
      seen.add(body.split('\n', 1)[0]!);
    }
    assert.deepEqual([...seen].toSorted(), ['orders-v1', 'orders-v2']);
  });

  it('reaches a service by its bare name, and by absolute-form through http_proxy', async () => {
    const egress = running.node('vm-b').egress;
    assert.equal((await curl(egress, { host: 'files' })).body, 'files\n');
    const proxied = await must('curl', [
      ...['-sS', '-m', '10', '--noproxy', '', '-x', `http://${formatAddress(egress)}`],
      'http://files.mesh/',
    ]);
    assert.equal(proxied, 'files\n');
  });

  it('comes in through the edge gateway by its host', async () => {
    const { edge } = running.node('vm-a');
    const shop = await curl(edge, { host: 'shop.example.com' });
    assert.equal(shop.status, 200);
    assert.match(
      shop.body,
      /^web\nhost shop\.example\.com\ncaller .*URI=spiffe:\/\/mesh\.internal\/edge\/public/,
    );
    const other = await curl(edge, { host: 'other.example.com' });
    assert.equal(other.status, 404);
    assert.equal(other.headers['x-gatemesh-reason'], 'NR');
  });

  it('shows the origin the verified caller, a request id and a traceparent, and nothing the caller made up', async () => {
    const made = ['-H', 'x-forwarded-client-cert: By=x;URI=spiffe://mesh.internal/svc/root'];
    const { body } = await curl(running.node('vm-a').webEgress, {
      host: 'orders.mesh',
      args: made,
    });
    const told = Object.fromEntries(
      body.split('\n').map((line) => {
        const space = line.indexOf(' ');
        return [line.slice(0, space), line.slice(space + 1)] as const;
      }),
    );
    assert.equal(
      told['caller'],
      'By=spiffe://mesh.internal/svc/orders;URI=spiffe://mesh.internal/svc/web',
    );
    assert.match(told['request-id']!, /^[\w-]{8,}$/);
    assert.match(told['traceparent']!, /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]$/);
  });

  it('passes between the gateways as TLS: records only, and no byte of the request in clear', async (t) => {
    const marker = 'marker-3b0c1a7e5d';
    const asked = await Promise.all(
      Array.from({ length: 40 }, () =>
        curl(running.node('vm-a').webEgress, {
          host: 'orders.mesh',
          path: `/${marker}`,
          args: ['-H', `x-${marker}: ${marker}`, '-d', marker],
        }),
      ),
    );
    assert.ok(asked.every(({ status }) => status === 200));
    const onWire = asked.filter(({ body }) => body.startsWith('orders-v1')).length;
    assert.ok(onWire > 0, 'none of 40 requests went to vm-b');
    assert.ok(relay.connections.length > 0, 'nothing passed the relay in front of vm-b');
    let bytes = 0;
    for (const { fromCaller, fromCallee } of relay.connections) {
      for (const stream of [fromCaller, fromCallee]) {
        assert.equal(tlsRecordProblem(stream), undefined);
        for (const secret of [marker, 'orders-v1', 'x-request-id', 'HTTP/1.1']) {
          assert.equal(stream.includes(secret), false, `"${secret}" passed in clear`);
        }
        bytes += stream.length;
      }
    }
    t.diagnostic(
      `${bytes} bytes in ${relay.connections.length} connections to vm-b, all TLS records, nothing in clear`,
    );
  });
});

describe('weights', () => {
  it('90/10, 50/50 and 100/0 put with etcdctl divide the requests, and no request fails', async (t) => {
    const splits = [
      [90, 10],
      [50, 50],
      [100, 0],
    ] as const;
    const reports = await underLoad(async (load) => {
      for (const [v1, v2] of splits) {
        await load.phase('change');
        await running.registry.inForce(await running.registry.put(CANARY, canary(v1, v2)));
        await load.phase(`${v1}/${v2}`);
        await reaches(load, `${v1}/${v2}`, SAMPLE);
        // Right shares give p <= 0.01 once in a hundred samples; another sample must fit then.
        if (fit(await load.report(`${v1}/${v2}`), v1, v2).p > 0.01) continue;
        await load.phase(`${v1}/${v2} again`);
        await reaches(load, `${v1}/${v2} again`, SAMPLE);
      }
    });
    for (const [v1, v2] of splits) {
      const first = reports.get(`${v1}/${v2}`)!;
      const again = reports.get(`${v1}/${v2} again`);
      for (const report of again === undefined ? [first] : [first, again]) {
        const { chiSquare, p } = fit(report, v1, v2);
        t.diagnostic(
          `${v1}/${v2}: v1 ${count(report, 'orders-v1')}, v2 ${count(report, 'orders-v2')} of ${report.requests}; ` +
            `χ² ${chiSquare.toFixed(3)}, p ${p.toFixed(3)}; p50 ${report.p50Ms.toFixed(1)} ms, p99 ${report.p99Ms.toFixed(1)} ms`,
        );
      }
      const { p } = fit(again ?? first, v1, v2);
      assert.ok(p > 0.01, `${v1}/${v2}: p ${p}`);
      assert.equal(count(first, 'orders-v1') + count(first, 'orders-v2'), first.requests);
    }
    assert.equal(count(reports.get('100/0')!, 'orders-v2'), 0);
    noFailures(reports);
  });

  it('a change is in force on all three gateways within 1 s of the put', async (t) => {
    const turns = 10;
    const elapsed: number[] = [];
    for (let turn = 0; turn < turns; turn++) {
      const [side, wanted] = turn % 2 === 0 ? ([0, 100] as const) : ([100, 0] as const);
      const name = side === 0 ? 'orders-v2' : 'orders-v1';
      await running.registry.put(CANARY, canary(side, wanted));
      // The put has been answered to etcdctl, and that is when the clock starts.
      const began = performance.now();
      await Promise.all(
        running.nodes.map(({ egress }) =>
          eventually(async () => {
            const { body } = await curl(egress, { host: 'orders.mesh' });
            assert.match(body, new RegExp(`^${name}\n`));
          }, 5_000),
        ),
      );
      elapsed.push(performance.now() - began);
      for (const { egress, name: node } of running.nodes) {
        const { body } = await curl(egress, { host: 'orders.mesh' });
        assert.match(body, new RegExp(`^${name}\n`), `${node} went back`);
      }
    }
    const slowest = quantile(elapsed, 1);
    t.diagnostic(
      `seen by a request on all three after ${quantile(elapsed, 0.5).toFixed(0)} ms (median), ${slowest.toFixed(0)} ms (slowest of ${turns})`,
    );
    assert.ok(slowest < 1_000, `the slowest change took ${slowest} ms`);
    await running.registry.inForce(await running.registry.delete(CANARY));
  });
});

describe('an instance that dies', () => {
  it('costs no GET after it was detected, and takes traffic again when it is back', async (t) => {
    let victim = { answer: '', node: '', share: 0 };
    const health = async (): Promise<string | undefined> =>
      (await running.registry.instances('orders')).find(({ node }) => node === victim.node)?.health;
    let killedAt = 0;
    let detectedAt = 0;
    let startedAt = 0;
    const reports = await underLoad(async (load) => {
      await reaches(load, 'start', 1_000);
      victim = busier(await load.report('start'));
      const origin = running.origin('orders', victim.node);
      killedAt = Date.now();
      await load.phase('dead');
      await origin.kill();
      await eventually(async () => assert.equal(await health(), 'failing'), 10_000);
      detectedAt = Date.now();
      await load.phase('detected');
      await reaches(load, 'detected', 1_500);
      startedAt = Date.now();
      await load.phase('back');
      await origin.start();
      await eventually(async () => {
        assert.ok(count(await load.report('back'), victim.answer) > 100);
      }, 15_000);
    });

    const dead = reports.get('dead')!;
    const detected = reports.get('detected')!;
    const back = reports.get('back')!;
    const lastFailure = dead.failures.at(-1);
    t.diagnostic(`${victim.answer} gave ${(victim.share * 100).toFixed(0)} % of the answers`);
    t.diagnostic(
      `${dead.failures.length} of ${dead.requests} GETs failed before detection` +
        (lastFailure === undefined
          ? ''
          : `, the last ${lastFailure.at - killedAt} ms after the kill`),
    );
    t.diagnostic(`reported as failing ${detectedAt - killedAt} ms after the kill`);
    t.diagnostic(
      `answers again ${back.answers[victim.answer]!.firstAt - startedAt} ms after its start`,
    );
    assert.deepEqual(detected.failures, []);
    assert.equal(count(detected, victim.answer), 0);
    assert.deepEqual(back.failures, []);
    assert.deepEqual(reports.get('start')!.failures, []);
  });

  /** The loss of an instance that nobody asks would prove nothing. */
  function busier(report: PhaseReport): { answer: string; node: string; share: number } {
    const sides = [
      { answer: 'orders-v1', node: 'vm-b' },
      { answer: 'orders-v2', node: 'vm-c' },
    ].map((side) => ({ ...side, share: count(report, side.answer) / report.requests }));
    return sides.toSorted((a, b) => b.share - a.share)[0]!;
  }
});

describe('Prometheus', () => {
  it('finds nothing wrong with the metrics of any gateway (promtool check metrics)', async () => {
    for (const { admin } of running.nodes) {
      const { body } = await curl(admin, { path: '/metrics' });
      assert.match(body, /^gatemesh_build_info\{/m);
      const { code, stdout, stderr } = await run('promtool', ['check', 'metrics'], { input: body });
      assert.deepEqual({ code, said: stdout + stderr }, { code: 0, said: '' });
    }
  });

  it('scrapes all three', async () => {
    const [port] = await freePorts('127.0.1.1', 1);
    const address = { host: '127.0.1.1', port: port! };
    const targets = running.nodes.map(({ admin }) => formatAddress(admin));
    const folder = running.folder;
    const configFile = join(folder, 'prometheus.yml');
    await writeFile(
      configFile,
      JSON.stringify({
        global: { scrape_interval: '1s', scrape_timeout: '900ms' },
        scrape_configs: [{ job_name: 'gatemesh', static_configs: [{ targets }] }],
      }),
    );
    const prometheus = await startProcess({
      name: 'prometheus',
      command: 'prometheus',
      args: [
        `--config.file=${configFile}`,
        `--storage.tsdb.path=${join(folder, 'prometheus')}`,
        `--web.listen-address=${formatAddress(address)}`,
      ],
      logFile: join(folder, 'prometheus.log'),
    });
    try {
      await untilReady(prometheus, () => accepts(address), 20_000);
      const query = async (text: string): Promise<number> => {
        const path = `/api/v1/query?query=${encodeURIComponent(text)}`;
        const { data } = await curlJson<{ data: { result: { value: [number, string] }[] } }>(
          address,
          path,
        );
        return Number(data.result[0]?.value[1] ?? 0);
      };
      await eventually(async () => {
        assert.equal(await query('sum(up{job="gatemesh"})'), 3);
        const asked = 'sum(gatemesh_requests_total{direction="egress",destination="orders"})';
        assert.ok((await query(asked)) > SAMPLE);
        assert.equal(await query('sum(gatemesh_registry_connected)'), 3);
      }, 20_000);
    } finally {
      await prometheus.stop();
    }
  });
});
