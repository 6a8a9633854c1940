import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OpenLoop, type OpenLoopOptions } from '../../bench/loads/open-loop.ts';

/** One request every 10 ms. */
const OPTIONS: OpenLoopOptions = {
  startMs: 1_000,
  perSecond: 100,
  warmUp: 0,
  count: 100,
  connections: 4,
};

/** Drives it with a clock that moves in steps, against a server that answers after `answerMs(request, sentAtMs)`. */
function drive(
  options: OpenLoopOptions,
  answerMs: (request: number, nowMs: number) => number,
  stepMs = 1,
): { readonly loop: OpenLoop; readonly sentAtMs: readonly number[] } {
  const loop = new OpenLoop(options);
  const sentAtMs: number[] = [];
  const underWay: { readonly connection: number; readonly doneMs: number }[] = [];
  for (let now = options.startMs; !loop.isOver; now += stepMs) {
    assert.ok(now < options.startMs + 60_000, 'it never ends');
    for (let at = underWay.length - 1; at >= 0; at--) {
      const { connection, doneMs } = underWay[at]!;
      if (doneMs > now) continue;
      underWay.splice(at, 1);
      loop.answered(connection, doneMs);
    }
    for (let begun = loop.begin(now); begun !== undefined; begun = loop.begin(now)) {
      sentAtMs.push(now);
      const doneMs = now + answerMs(begun.request, now);
      underWay.push({ connection: begun.connection, doneMs });
    }
  }
  return { loop, sentAtMs };
}

describe('OpenLoop', () => {
  it('sends each request when it is due, however long answers take', () => {
    const due = Array.from({ length: 100 }, (_, at) => 1_000 + at * 10);
    assert.deepEqual(drive(OPTIONS, () => 1).sentAtMs, due);
    assert.deepEqual(drive(OPTIONS, () => 39).sentAtMs, due);
  });

  it('counts every request that fell due while the server stood still', () => {
    // Nothing is answered from 1,100 to 1,600: fifty requests fall due meanwhile, a closed loop would have sent four.
    const { loop } = drive(OPTIONS, (_, now) => (now >= 1_100 && now < 1_600 ? 1_600 - now : 1));
    const { p50, p99, max, waited } = loop.report();
    assert.ok(Math.abs(max - 500_000) < 2_000, `max ${max}`);
    assert.ok(p99 > 450_000, `p99 ${p99}`);
    // Half of the requests were late by 10, 20, … 500 ms.
    assert.ok(p50 < 20_000, `p50 ${p50}`);
    assert.ok(waited > 40, `waited ${waited}`);
  });

  it('does not call it its own lateness when there was no connection', () => {
    const { loop } = drive(OPTIONS, (_, now) => (now < 1_600 ? 1_600 - now : 1));
    assert.ok(loop.report().lateP99 <= 1_000, `${loop.report().lateP99}`);
  });

  it('says how late it was itself', () => {
    // The clock is looked at every 25 ms only.
    const { loop } = drive(OPTIONS, () => 1, 25);
    const { lateP50, lateP99, p50 } = loop.report();
    assert.ok(lateP50 >= 5_000, `p50 ${lateP50}`);
    assert.ok(lateP99 >= 20_000, `p99 ${lateP99}`);
    assert.ok(p50 >= lateP50 + 1_000 - 1, 'the latency is from when it was due');
  });

  it('leaves the warm-up out', () => {
    const { loop } = drive({ ...OPTIONS, warmUp: 50, count: 50 }, (request) =>
      request < 50 ? 30 : 2,
    );
    const { requests, max } = loop.report();
    assert.equal(requests, 50);
    assert.ok(Math.abs(max - 2_000) < 1, `${max}`);
  });

  it('gives every connection its turn', () => {
    const loop = new OpenLoop(OPTIONS);
    const used: number[] = [];
    for (let request = 0; request < 8; request++) {
      const now = 1_000 + request * 10;
      const { connection } = loop.begin(now)!;
      used.push(connection);
      loop.answered(connection, now + 1);
    }
    assert.deepEqual(used, [0, 1, 2, 3, 0, 1, 2, 3]);
  });

  it('knows an answer that nobody asked for', () => {
    assert.throws(() => new OpenLoop(OPTIONS).answered(0, 1_000), /without a request/);
  });

  it('has the percentiles of what it saw', () => {
    const { loop } = drive(OPTIONS, (request) => (request === 7 ? 8 : request % 2 === 0 ? 2 : 3));
    const { p50, p99, max } = loop.report();
    assert.deepEqual([p50, p99, max].map(Math.round), [2_000, 3_000, 8_000]);
  });
});
