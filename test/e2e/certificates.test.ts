import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startLoad } from '../support/load.ts';
import { mesh, type Mesh } from '../support/mesh.ts';
import { nginx } from '../support/origins.ts';
import { recordingRelay, type Relay } from '../support/relay.ts';

const LIFE_S = 60;
const UNDER_LOAD_MS = 180_000;

let running: Mesh;
let relay: Relay;

before(async () => {
  running = await mesh()
    .leafTtl(`${LIFE_S}s`)
    .node('vm-a')
    .node('vm-b')
    .node('vm-c')
    .service('web', { on: 'vm-a', origin: nginx('web') })
    .service('orders', { on: 'vm-b', origin: nginx('orders-b') })
    .service('orders', { on: 'vm-c', origin: nginx('orders-c') })
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

/** A certificate as the admin page named it, and when it was first seen there: Unix ms. */
interface SeenCertificate {
  readonly seenAt: number;
  readonly notAfter: number;
}

const LOOK_EVERY_MS = 500;
/** notAfter has whole seconds; a timer and the relay's own clock may be this late. */
const SLACK_MS = 500;

describe(`certificates that live ${LIFE_S} s`, () => {
  it('are renewed under load for three minutes without a failed request or a connection older than its certificate', async (t) => {
    const target = running.node('vm-a').webEgress;
    const load = await startLoad({ target, host: 'orders.mesh', perSecond: 150 });
    const certificates = new Map<string, SeenCertificate[]>();
    try {
      const until = performance.now() + UNDER_LOAD_MS;
      while (performance.now() < until) {
        await look(certificates);
        await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      }
      const report = (await load.stop()).get('start')!;
      t.diagnostic(
        `${report.requests} requests in ${UNDER_LOAD_MS / 1_000} s, ${report.failures.length} failed, p99 ${report.p99Ms.toFixed(1)} ms`,
      );
      assert.deepEqual(report.failures, []);
    } finally {
      await load.kill();
    }

    for (const [holder, seen] of certificates) {
      t.diagnostic(`${holder}: ${seen.length} certificates`);
      // Half life is 30 s ± 10 %: within 180 s at least four follow the first.
      assert.ok(seen.length >= 5, `${holder} had only ${seen.length} certificates`);
    }

    const caller = certificates.get('vm-a spiffe://mesh.internal/svc/web')!;
    const callee = certificates.get('vm-b spiffe://mesh.internal/svc/orders')!;
    const now = Date.now();
    const lives = relay.connections.map(({ openedAt, closedAt = now }) => {
      const end = Math.min(endOfNewest(caller, openedAt), endOfNewest(callee, openedAt));
      return { ms: closedAt - openedAt, left: end - closedAt };
    });
    const longest = Math.max(...lives.map(({ ms }) => ms));
    const leastLeft = Math.min(...lives.map(({ left }) => left));
    t.diagnostic(
      `${lives.length} connections from vm-a to vm-b, the longest lived ${(longest / 1_000).toFixed(1)} s; ` +
        `at its end each had ${(leastLeft / 1_000).toFixed(1)} s or more of its certificates left`,
    );
    assert.ok(lives.length >= 4, 'connections do not follow the certificates');
    assert.ok(leastLeft > -SLACK_MS, `a connection outlived its certificate by ${-leastLeft} ms`);
  });
});

async function look(certificates: Map<string, SeenCertificate[]>): Promise<void> {
  for (const node of running.nodes) {
    for (const { identity, notAfter: end } of (await node.status()).identities) {
      const holder = `${node.name} ${identity}`;
      assert.ok(end !== null, `${holder} has none`);
      const seenAt = Date.now();
      const notAfter = Date.parse(end);
      assert.ok(notAfter > seenAt, `${holder} is still in use after its end at ${end}`);
      const seen = certificates.getOrInsertComputed(holder, () => []);
      if (seen.at(-1)?.notAfter !== notAfter) seen.push({ seenAt, notAfter });
    }
  }
}

/** The end of the newest certificate a connection opened at that moment can have been made with. */
function endOfNewest(seen: readonly SeenCertificate[], openedAt: number): number {
  const known = seen.filter(({ seenAt }) => seenAt <= openedAt + LOOK_EVERY_MS + SLACK_MS);
  return (known.at(-1) ?? seen[0]!).notAfter;
}
