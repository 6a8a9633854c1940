import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Endpoint } from '../../../gateway/worker/balance/endpoint.ts';
import { Standing, type Outcome } from '../../../gateway/worker/balance/standing.ts';
import { ejectionGroup, endpoints, instance } from './simulation.ts';

const OUTCOMES: Readonly<Record<string, Outcome>> = {
  '+': 'ok',
  '5': '5xx',
  c: 'connect',
  r: 'reset',
  g: 'gone',
};

/** E ejected, U unreachable, P due for a probe, I in. */
function letter(standing: Standing, nowMs: number): string {
  if (standing.isIn) return 'I';
  if (standing.isProbeDue(nowMs)) return 'P';
  return standing.isEjected ? 'E' : 'U';
}

describe('a history of requests, one each second', () => {
  // One character per second: a request with this outcome (+ ok, 5 5xx, c connect, r reset, g client gone), "." for none.
  // The letter under it is the state right after. Three failures eject, for 3 s × n; the longest is 7 s.
  const histories: readonly [name: string, requests: string, states: string][] = [
    ['goes out on the third failure in a row', '555', 'IIE'],
    ['5xx and resets count alike', '5r5', 'IIE'],
    ['a success in between starts the count again', '55+55', 'IIIII'],
    ['a client that left counts for nothing', '5g5g5', 'IIIIE'],
    ['may be probed when its time is over', '555...', 'IIEEEP'],
    ['a good probe brings it back', '555..+', 'IIEEEI'],
    ['a bad probe ejects it for twice as long', '555..5.....+', 'IIEEEEEEEEEI'],
    [
      'never for longer than the maximum',
      '555..5.....5......5......+',
      'IIEEEEEEEEEEEEEEEEEEEEEEEI',
    ],
    ['a probe whose client left is no answer', '555..g+', 'IIEEEPI'],
    ['a failed connection is avoided at once', 'c', 'U'],
    ['a connection that works again', 'c+', 'UI'],
    ['failed connections lead to an ejection', 'cc.c..', 'UUUEEE'],
    [
      'soon after, the next ejection is longer still',
      '555..5.....+555......+',
      'IIEEEEEEEEEIIIEEEEEEEI',
    ],
    ['forgiven after as long as the ejection took', '555..+...555..+', 'IIEEEIIIIIIEEEI'],
    ['an error from what was unreachable is an answer', 'c5', 'UI'],
  ];
  for (const [name, requests, states] of histories) {
    it(name, () => {
      const group = ejectionGroup(2, { consecutive: 3, baseMs: 3_000, maxMs: 7_000 });
      const standing = new Standing(group);
      const seen = Array.from(requests, (request, second) => {
        const nowMs = (second + 1) * 1_000;
        if (request !== '.') {
          standing.started(nowMs);
          standing.finished(nowMs, nowMs, OUTCOMES[request]!);
        }
        return letter(standing, nowMs);
      });
      assert.equal(seen.join(''), states);
    });
  }
});

it('an unreachable endpoint is probed after 1, 2, 4, 8 and then every 10 s', () => {
  const standing = new Standing(ejectionGroup(2, { consecutive: 0 }));
  const waits = [];
  let nowMs = 0;
  for (let i = 0; i < 6; i++) {
    standing.started(nowMs);
    standing.finished(nowMs, nowMs, 'connect');
    waits.push((standing.outUntilMs - nowMs) / 1_000);
    nowMs = standing.outUntilMs;
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 10, 10]);
});

describe('ejection', () => {
  const fail = (standing: Standing, times: number, nowMs = 0) => {
    for (let i = 0; i < times; i++) standing.finished(nowMs, nowMs, '5xx');
  };

  it('is off with consecutive 0, but a dead address is still avoided', () => {
    const standing = new Standing(ejectionGroup(2, { consecutive: 0 }));
    fail(standing, 1_000);
    assert.ok(standing.isIn);
    standing.finished(0, 0, 'connect');
    assert.ok(!standing.isIn);
  });

  const caps: readonly [name: string, size: number, maxEjected: number, out: number][] = [
    ['half of four', 4, 50, 2],
    ['half of five, rounded down', 5, 50, 2],
    ['one of two at 10 %: one is always allowed', 2, 10, 1],
    ['the only one', 1, 50, 1],
    ['all at 100 %', 3, 100, 3],
  ];
  for (const [name, size, maxEjected, out] of caps) {
    it(`at most ${name}`, () => {
      const group = ejectionGroup(size, { maxEjected });
      const all = endpoints(
        Array.from({ length: size }, () => 100),
        group,
      );
      for (const { standing } of all) fail(standing, 20);
      assert.equal(all.filter(({ standing }) => standing.isEjected).length, out);
      assert.equal(group.ejected, out);
    });
  }

  it('makes room for another when one comes back or leaves', () => {
    const group = ejectionGroup(2);
    const [a, b] = endpoints([100, 100], group);
    fail(a!.standing, 5);
    fail(b!.standing, 5);
    assert.deepEqual([a!.standing.isEjected, b!.standing.isEjected], [true, false]);
    a!.standing.reset();
    fail(b!.standing, 1);
    assert.deepEqual([a!.standing.isEjected, b!.standing.isEjected], [false, true]);
    assert.equal(group.ejected, 1);
  });

  it('is not capped for unreachable ones', () => {
    const all = endpoints([100, 100]);
    for (const { standing } of all) standing.finished(0, 0, 'connect');
    assert.deepEqual(
      all.map(({ standing }) => standing.isIn),
      [false, false],
    );
  });

  it('lasts up to a fifth longer, by chance', () => {
    const standing = new Standing({ ...ejectionGroup(2), rng: () => 0.5 });
    fail(standing, 5);
    assert.equal(standing.outUntilMs, 11_000);
  });

  it('is one event for the fifty requests that were under way', () => {
    const endpoint = new Endpoint('a', instance('a'), undefined, ejectionGroup(2));
    for (let i = 0; i < 50; i++) endpoint.started(0);
    for (let i = 0; i < 49; i++) endpoint.finished(100, 100, 'reset');
    assert.equal(endpoint.standing.outUntilMs, 10_100);
    // Even one that succeeds after all does not bring it back.
    endpoint.finished(200, 200, 'ok');
    assert.ok(endpoint.standing.isEjected);
  });

  it('in a panic only prolonged by probes, and ended by any answer', () => {
    const standing = new Standing(ejectionGroup(1));
    fail(standing, 5);
    for (let i = 0; i < 100; i++) {
      standing.started(5_000);
      standing.finished(5_001, 5_000, '5xx');
    }
    assert.equal(standing.outUntilMs, 10_000);
    standing.started(6_000);
    standing.finished(6_010, 6_000, 'ok');
    assert.ok(standing.isIn);
  });

  it('gives up a probe that never ends', () => {
    const standing = new Standing(ejectionGroup(2));
    fail(standing, 5);
    standing.started(10_000);
    assert.ok(!standing.isProbeDue(24_999));
    assert.ok(standing.isProbeDue(25_000));
  });
});

describe('latency of an endpoint', () => {
  const answer = (
    endpoint: Endpoint,
    nowMs: number,
    latencyMs: number,
    outcome: Outcome = 'ok',
  ) => {
    endpoint.started(nowMs - latencyMs);
    endpoint.finished(nowMs, latencyMs, outcome);
    return Math.round(endpoint.latencyMs * 10) / 10;
  };

  it('rises at once, falls over three seconds', () => {
    const [endpoint] = endpoints([100]);
    assert.equal(answer(endpoint!, 1_000, 10), 10);
    assert.equal(answer(endpoint!, 2_000, 100), 100);
    assert.equal(answer(endpoint!, 3_000, 10), 74.5);
    assert.equal(answer(endpoint!, 13_000, 10), 12.3);
  });
  it('does not fall by failures', () => {
    const [endpoint] = endpoints([100]);
    answer(endpoint!, 1_000, 10);
    assert.equal(answer(endpoint!, 60_000, 1, '5xx'), 10);
    assert.equal(answer(endpoint!, 60_000, 2_000, 'connect'), 2_000);
  });
  it('counts requests in flight', () => {
    const [endpoint] = endpoints([100]);
    endpoint!.started(0);
    endpoint!.started(0);
    endpoint!.finished(1, 1, 'gone');
    assert.equal(endpoint!.inFlight, 1);
  });
});

describe('a stream that stays open', () => {
  it('brings its endpoint back when it opens, and not when it ends', () => {
    const [endpoint] = endpoints([100]);
    endpoint!.started(0);
    endpoint!.finished(0, 0, 'connect');
    assert.equal(endpoint!.standing.isIn, false);
    endpoint!.started(2_000);
    endpoint!.opened(2_005, 5);
    assert.equal(endpoint!.standing.isIn, true);
    assert.deepEqual([endpoint!.inFlight, endpoint!.latencyMs], [1, 5]);
    endpoint!.closed();
    assert.deepEqual([endpoint!.inFlight, endpoint!.latencyMs], [0, 5]);
  });
});
