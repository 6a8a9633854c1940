import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nextProbeMs, observe, UNKNOWN, type Health } from '../../../gateway/health/state.ts';

const POLICY = { rise: 2, fall: 3 };

describe('observe', () => {
  // One character per probe: + ok, - failed; one letter per state after it: P passing, F failing.
  const histories: readonly [name: string, probes: string, states: string][] = [
    ['the first probe decides', '+', 'P'],
    ['the first probe decides, either way', '-', 'F'],
    ['fails on the third failure in a row', '+---', 'PPPF'],
    ['a success in between starts the count again', '+--+--', 'PPPPPP'],
    ['passes again on the second success in a row', '-+-++', 'FFFFP'],
    ['a failure in between starts the count again', '-+-+-+-', 'FFFFFFF'],
    ['a full turn', '+---++---', 'PPPFFPPPF'],
  ];
  for (const [name, probes, states] of histories) {
    it(name, () => {
      let health: Health = UNKNOWN;
      const seen = Array.from(probes, (probe) => {
        health = observe(health, probe === '+', POLICY);
        return health.state === 'passing' ? 'P' : 'F';
      });
      assert.equal(seen.join(''), states);
    });
  }

  it('flips at once with thresholds of 1', () => {
    const passing = observe(UNKNOWN, true, { rise: 1, fall: 1 });
    const failing = observe(passing, false, { rise: 1, fall: 1 });
    assert.equal(failing.state, 'failing');
    assert.equal(observe(failing, true, { rise: 1, fall: 1 }).state, 'passing');
  });

  it('returns the same object when nothing changed', () => {
    const passing = observe(UNKNOWN, true, POLICY);
    assert.equal(observe(passing, true, POLICY), passing);
    const failing = observe(UNKNOWN, false, POLICY);
    assert.equal(observe(failing, false, POLICY), failing);
  });
});

describe('nextProbeMs', () => {
  const cases: readonly [
    name: string,
    health: Health,
    interval: number,
    draw: number,
    ms: number,
  ][] = [
    ['passing: the interval', { state: 'passing', streak: 0 }, 5_000, 0.5, 5_000],
    ['passing: up to a tenth earlier', { state: 'passing', streak: 0 }, 5_000, 0, 4_500],
    ['failing: a second', { state: 'failing', streak: 0 }, 5_000, 0.5, 1_000],
    ['unknown: a second', UNKNOWN, 5_000, 0.5, 1_000],
    ['failing: the interval where that is shorter', UNKNOWN, 200, 0.5, 200],
  ];
  for (const [name, health, interval, draw, ms] of cases) {
    it(name, () => assert.equal(nextProbeMs(health, interval, draw), ms));
  }
});
