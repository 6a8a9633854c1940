import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatDuration, parseDuration } from '#kit/duration.ts';

describe('parseDuration', () => {
  const cases: readonly (readonly [text: string, ms: number | undefined])[] = [
    ['250ms', 250],
    ['0s', 0],
    ['5s', 5_000],
    ['1.5m', 90_000],
    ['24h', 86_400_000],
    ['30d', 2_592_000_000],
    ['0.5ms', 0.5],
    ['1.001s', 1_001],
    ['', undefined],
    ['5', undefined],
    ['s', undefined],
    ['-5s', undefined],
    ['+5s', undefined],
    ['5 s', undefined],
    [' 5s', undefined],
    ['5s\n', undefined],
    ['5S', undefined],
    ['5sec', undefined],
    ['1h30m', undefined],
    ['.5s', undefined],
    ['5.s', undefined],
    ['1e3s', undefined],
    ['0x10s', undefined],
    ['9999999999999s', undefined],
  ];
  for (const [text, ms] of cases) {
    it(`${JSON.stringify(text)} is ${ms ?? 'refused'}`, () => {
      assert.equal(parseDuration(text), ms);
    });
  }
});

describe('formatDuration', () => {
  const cases: readonly (readonly [ms: number, text: string])[] = [
    [0, '0ms'],
    [250, '250ms'],
    [1_000, '1s'],
    [1_500, '1500ms'],
    [90_000, '90s'],
    [599_000, '599s'],
    [600_000, '10m'],
    [3_600_000, '1h'],
    [5_400_000, '90m'],
    [86_400_000, '24h'],
  ];
  for (const [ms, text] of cases) {
    it(`${ms} is ${text}, and back`, () => {
      assert.equal(formatDuration(ms), text);
      assert.equal(parseDuration(text), ms);
    });
  }
});
