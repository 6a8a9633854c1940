import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { seededRng, type Rng } from '#kit/rng.ts';
import { EndpointSet } from '../../../gateway/worker/balance/endpoint-set.ts';
import type { Endpoint } from '../../../gateway/worker/balance/endpoint.ts';
import { pickEndpoint } from '../../../gateway/worker/balance/p2c.ts';
import { endpoints, percentile, simulate } from './simulation.ts';

const everyone = () => true;

/** Deals the given draws in order and fails the test when asked for one too many. */
function draws(...values: number[]): Rng {
  return () => values.shift() ?? assert.fail('drew more often than expected');
}

describe('pickEndpoint chooses between two', () => {
  // Slices of [0, 4): a, b, c, d. The first point is 4 × draw, the second lies 1 + 2 × draw further on, around the end.
  const cases: readonly {
    name: string;
    inFlight?: readonly number[];
    latencyMs?: readonly number[];
    dealt: readonly number[];
    picked: string;
  }[] = [
    { name: 'the first drawn when all are alike', dealt: [0.3, 0], picked: 'b' },
    { name: 'the idler one', inFlight: [0, 1, 0, 0], dealt: [0.3, 0], picked: 'c' },
    { name: 'the first drawn on a tie', inFlight: [0, 3, 3, 0], dealt: [0.3, 0], picked: 'b' },
    { name: 'the clearly faster one', latencyMs: [9, 20, 10, 9], dealt: [0.3, 0], picked: 'c' },
    { name: 'not one within the noise', latencyMs: [9, 14, 10, 9], dealt: [0.3, 0], picked: 'b' },
    {
      name: 'a busy fast one over an idle slow one',
      inFlight: [0, 0, 3, 0],
      latencyMs: [9, 100, 10, 9],
      dealt: [0.3, 0],
      picked: 'c',
    },
    {
      name: 'the one before, around the end',
      inFlight: [9, 0, 0, 0],
      dealt: [0.2, 0.99],
      picked: 'd',
    },
    {
      name: 'the one after, around the end',
      inFlight: [0, 0, 0, 9],
      dealt: [0.8, 0.1],
      picked: 'a',
    },
    {
      name: 'one that has not answered by load alone',
      latencyMs: [9, 0, 1, 9],
      dealt: [0.3, 0],
      picked: 'b',
    },
  ];
  for (const { name, inFlight = [], latencyMs = [], dealt, picked } of cases) {
    it(name, () => {
      const all = endpoints([1, 1, 1, 1]);
      for (const [i, endpoint] of all.entries()) {
        endpoint.inFlight = inFlight[i] ?? 0;
        endpoint.latencyMs = latencyMs[i] ?? 0;
      }
      const rng = draws(...dealt);
      assert.equal(pickEndpoint(new EndpointSet(all, everyone), 0, rng, undefined)?.key, picked);
    });
  }
});

describe('pickEndpoint without a choice', () => {
  it('nobody there', () => {
    assert.equal(pickEndpoint(new EndpointSet([], everyone), 0, draws(), undefined), undefined);
  });
  it('a single one, even when it is to be avoided or out', () => {
    const [only] = endpoints([100]);
    const set = new EndpointSet([only!], everyone);
    assert.equal(pickEndpoint(set, 0, draws(), only), only);
    only!.standing.finished(0, 0, 'connect');
    assert.equal(pickEndpoint(set, 0, draws(), undefined), only);
  });
  it('weight 0 gets nothing, also when the others do not take requests', () => {
    const all = endpoints([0, 1]);
    assert.deepEqual(new EndpointSet(all, everyone).endpoints, [all[1]]);
    assert.deepEqual(new EndpointSet(all, ({ key }) => key === 'a').endpoints, []);
  });
  it('all of weight 0: nobody gets anything', () => {
    assert.deepEqual(new EndpointSet(endpoints([0, 0]), everyone).endpoints, []);
  });
});

describe('pickEndpoint passes over', () => {
  const pickMany = (all: readonly Endpoint[], nowMs: number, avoid?: Endpoint) => {
    const rng = seededRng(3);
    const set = new EndpointSet(all, everyone);
    return new Set(Array.from({ length: 500 }, () => pickEndpoint(set, nowMs, rng, avoid)!.key));
  };

  it('the one to avoid', () => {
    const all = endpoints([1, 8, 1]);
    assert.deepEqual(pickMany(all, 0, all[1]), new Set(['a', 'c']));
  });
  it('those that are out', () => {
    const all = endpoints([1, 8, 1]);
    all[1]!.standing.finished(0, 0, 'connect');
    assert.deepEqual(pickMany(all, 500), new Set(['a', 'c']));
  });
  it('none when all are out: the panic', () => {
    const all = endpoints([1, 8, 1]);
    for (const { standing } of all) standing.finished(0, 0, 'connect');
    assert.deepEqual(pickMany(all, 500), new Set(['a', 'b', 'c']));
    assert.deepEqual(pickMany(all, 500, all[1]), new Set(['a', 'c']));
  });
  it('the one to avoid less than one that is out', () => {
    const all = endpoints([1, 1]);
    all[0]!.standing.finished(0, 0, 'connect');
    assert.deepEqual(pickMany(all, 500, all[1]), new Set(['b']));
    all[1]!.standing.finished(0, 0, 'connect');
    assert.deepEqual(pickMany(all, 500, all[1]), new Set(['a']));
  });
  it('one that is being probed, and on a retry one that could be', () => {
    const all = endpoints([1, 1, 1]);
    all[0]!.standing.finished(0, 0, 'connect');
    assert.deepEqual(pickMany(all, 1_000), new Set(['a', 'b', 'c']));
    assert.deepEqual(pickMany(all, 1_000, all[1]), new Set(['c']));
    all[0]!.started(1_000);
    assert.deepEqual(pickMany(all, 1_001), new Set(['b', 'c']));
  });
});

describe('shares follow the weights when all are equally fast', () => {
  const jittered = { latencyMs: (rng: Rng) => 8 + 4 * rng() };
  for (const weights of [
    [1, 1],
    [1, 3, 6],
    [1, 9],
    [95, 5],
    [100, 100, 100, 100, 100],
  ]) {
    for (const concurrency of [1, 2, 8, 32, 128]) {
      it(`${weights.join(':')} with ${concurrency} in flight`, () => {
        const rng = seededRng(7);
        const all = endpoints(weights);
        const set = new EndpointSet(all, everyone);
        const { counts } = simulate({
          endpoints: all,
          services: weights.map(() => jittered),
          pick: (nowMs) => pickEndpoint(set, nowMs, rng, undefined)!,
          requests: 10_000,
          concurrency,
          rng,
        });
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (const [i, weight] of weights.entries()) {
          const off = counts[i]! / 10_000 - weight / total;
          assert.ok(Math.abs(off) < 0.03, `${counts.join(' ')} for ${weights.join(':')}`);
        }
      });
    }
  }

  it('exactly in the mean at rest, whatever the weights', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 2, maxLength: 6 }),
        fc.integer({ min: 1, max: 2 ** 31 }),
        (weights, seed) => {
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          fc.pre(total > 0);
          const shares = pickShares(endpoints(weights), 4_000, seed);
          // Five standard deviations of a share of a half.
          return weights.every((weight, i) => Math.abs(shares[i]! - weight / total) < 0.04);
        },
      ),
      { numRuns: 100, seed: 11 },
    );
  });
});

it('none gets more than twice its share by being fast', () => {
  const rng = seededRng(5);
  const all = endpoints([1, 9]);
  const set = new EndpointSet(all, everyone);
  const { counts } = simulate({
    endpoints: all,
    services: [{ latencyMs: () => 1 }, { latencyMs: () => 100 }],
    pick: (nowMs) => pickEndpoint(set, nowMs, rng, undefined)!,
    requests: 5_000,
    concurrency: 16,
    rng,
  });
  assert.ok(counts[0]! / 5_000 > 0.18 && counts[0]! / 5_000 < 0.22, counts.join(' '));
});

describe('one instance of three is ten times slower', () => {
  const run = (choose: (all: readonly Endpoint[], rng: Rng) => (nowMs: number) => Endpoint) => {
    const rng = seededRng(9);
    const all = endpoints([100, 100, 100]);
    const services = [10, 1, 1].map((slow) => ({ latencyMs: (r: Rng) => slow * (8 + 4 * r()) }));
    const pick = choose(all, rng);
    const options = { endpoints: all, services, pick, requests: 10_000, concurrency: 0, rng };
    const { counts, latencies } = simulate({ ...options, perSecond: 500 });
    return { slowShare: counts[0]! / 10_000, p99: percentile(latencies, 99) };
  };

  it('keeps p99 at what the fast ones give, unlike round robin', () => {
    const p2c = run((all, rng) => {
      const set = new EndpointSet(all, everyone);
      return (nowMs) => pickEndpoint(set, nowMs, rng, undefined)!;
    });
    let turn = 0;
    const roundRobin = run((all) => () => all[turn++ % 3]!);
    assert.ok(p2c.slowShare < 0.01, `${p2c.slowShare}`);
    assert.ok(p2c.p99 <= 12, `${p2c.p99}`);
    assert.ok(roundRobin.p99 > 100, `${roundRobin.p99}`);
  });
});

it('an instance that refuses at once does not draw traffic by looking fast', () => {
  const rng = seededRng(13);
  const all = endpoints([100, 100, 100]);
  for (const { standing } of all) standing.reset();
  const set = new EndpointSet(all, everyone);
  const { counts } = simulate({
    endpoints: all,
    services: [
      { latencyMs: () => 0.1, outcome: 'connect' },
      { latencyMs: () => 10 },
      { latencyMs: () => 10 },
    ],
    pick: (nowMs) => pickEndpoint(set, nowMs, rng, undefined)!,
    requests: 10_000,
    concurrency: 0,
    perSecond: 1_000,
    rng,
  });
  // Ten seconds: the first failure, probes after 1, 2 and 4 s.
  assert.ok(counts[0]! <= 5, counts.join(' '));
});

function pickShares(all: readonly Endpoint[], picks: number, seed = 1): number[] {
  const rng = seededRng(seed);
  const set = new EndpointSet(all, everyone);
  const counts = all.map(() => 0);
  for (let i = 0; i < picks; i++) counts[all.indexOf(pickEndpoint(set, 0, rng, undefined)!)]!++;
  return counts.map((count) => count / picks);
}
