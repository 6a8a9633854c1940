import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgeRenewal, renewAtMs, renewalRetryMs } from '../../../ca/renewal.ts';

// Issued at minute 0 for 100 minutes; notBefore is dated back by one.
const MINUTE = 60_000;
const LIFE = { notBeforeMs: -MINUTE, notAfterMs: 100 * MINUTE };

describe('renewAtMs', () => {
  const rows: readonly (readonly [name: string, draw: number, minute: number])[] = [
    ['the lowest draw: 40 % of the life', 0, 40],
    ['a middle draw: half', 0.5, 50],
    ['close to the highest draw: 60 %', 0.999_999, 60],
  ];
  for (const [name, draw, minute] of rows) {
    it(name, () => assert.equal(Math.round(renewAtMs(LIFE, draw) / MINUTE), minute));
  }

  it('a life shorter than the dating back still has a half', () => {
    const life = { notBeforeMs: 0, notAfterMs: MINUTE + 4_000 };
    assert.equal(renewAtMs(life, 0.5), MINUTE + 2_000);
  });
});

describe('judgeRenewal', () => {
  const rows: readonly (readonly [name: string, minute: number, state: string])[] = [
    ['just issued', 0, 'fresh'],
    ['before its moment', 49.99, 'fresh'],
    ['at its moment', 50, 'due'],
    ['a quarter left', 75, 'due'],
    ['less than a quarter left', 75.01, 'urgent'],
    ['in the last second', 99.99, 'urgent'],
    ['at its end', 100, 'expired'],
    ['after the clock jumped a day ahead', 1440, 'expired'],
    ['a clock within the dating back', -0.5, 'fresh'],
    ['after the clock jumped a day back', -1440, 'due'],
  ];
  for (const [name, minute, state] of rows) {
    it(name, () => assert.equal(judgeRenewal(LIFE, 50 * MINUTE, minute * MINUTE), state));
  }
});

describe('renewalRetryMs', () => {
  const last = (): number => 0.999_999;
  const rows: readonly (readonly [
    string,
    attempt: number,
    leftMs: number | undefined,
    ms: number,
  ])[] = [
    ['one second at first', 0, 1000 * MINUTE, 1_000],
    ['doubles', 3, 1000 * MINUTE, 8_000],
    ['five minutes at most', 20, 1000 * MINUTE, 300_000],
    ['an eighth of what is left', 20, 8_000, 1_000],
    ['never busier than four times a second', 20, 10, 250],
    ['half a minute without a certificate', 20, undefined, 30_000],
  ];
  for (const [name, attempt, leftMs, ms] of rows) {
    it(name, () => assert.equal(renewalRetryMs(attempt, leftMs, last), ms));
  }

  it('is spread over the whole wait', () => {
    assert.equal(
      renewalRetryMs(20, undefined, () => 0.1),
      3_000,
    );
  });
});
