import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nearest } from '#kit/nearest.ts';

const FIELDS = [
  'q',
  'host',
  'hosts',
  'path',
  'to',
  'weight',
  'timeout',
  'priority',
  'trustedProxies',
];

describe('nearest', () => {
  const cases: readonly (readonly [why: string, typed: string, word: string | undefined])[] = [
    ['two letters swapped', 'weigth', 'weight'],
    ['a letter dropped', 'timeot', 'timeout'],
    ['a letter added', 'prioritty', 'priority'],
    ['a letter changed', 'pach', 'path'],
    ['only capitals differ', 'TimeOut', 'timeout'],
    ['a capital inside', 'trustedproxies', 'trustedProxies'],
    ['the closest of two', 'hostss', 'hosts'],
    ['the word itself', 'host', 'host'],
    ['the first of equals', 'hostx', 'host'],
    ['a short word may have one slip', 'tp', 'to'],
    ['but not be another word', 'xy', undefined],
    ['nothing like it', 'cluster', undefined],
    ['nothing typed', '', undefined],
    ['one letter, all of it wrong', 'x', undefined],
    ['more than a third wrong', 'waigxx', undefined],
  ];
  for (const [why, typed, word] of cases) {
    it(`${why}: ${JSON.stringify(typed)}`, () => {
      assert.equal(nearest(typed, FIELDS), word);
    });
  }

  it('knows no word when there is none', () => {
    assert.equal(nearest('host', []), undefined);
  });
});
