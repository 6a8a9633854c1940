import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { departureOf, isMassExpiry } from '../../../registry/expiry-rule.ts';
import { rules } from './rules.ts';

describe('isMassExpiry', () => {
  const cases: readonly [name: string, departed: string, staying: number, mass: boolean][] = [
    ['one node of many', 'a a a a', 10, false],
    ['one node of a small mesh', 'a a a a', 2, false],
    ['two nodes', 'a a b b', 10, true],
    ['three of two nodes', 'a a b', 1, false],
    ['exactly the share', 'a a b b b b', 34, false],
    ['just above the share', 'a a b b b b', 33, true],
    ['everything', 'a b c d', 0, true],
    ['nothing', '', 10, false],
  ];
  for (const [name, departed, staying, mass] of cases) {
    it(name, () => {
      const departures = departed
        .split(' ')
        .filter((node) => node !== '')
        .map((node, i) => ({ key: `${node}${i}`, node, isInstance: true, atMs: 0 }));
      assert.equal(isMassExpiry(departures, staying), mass);
    });
  }

  it('does not count node documents', () => {
    const departures = ['a', 'b', 'c', 'd'].map((node) => {
      return { key: `nodes/${node}`, node, isInstance: false, atMs: 0 };
    });
    assert.equal(isMassExpiry(departures, 0), false);
  });
});

describe('departureOf', () => {
  const cases: readonly [name: string, key: string, text: string, departs: string | undefined][] = [
    ['an instance', 'nodes/vm-a/instances/web/1', '{"state":"ready"}', 'vm-a'],
    [
      'an instance that said goodbye',
      'nodes/vm-a/instances/web/1',
      '{"state":"draining"}',
      undefined,
    ],
    ['one in maintenance', 'nodes/vm-a/instances/web/1', '{"state":"maintenance"}', undefined],
    ['a node', 'nodes/vm-a', '{}', 'vm-a'],
    ['a route', 'config/routes/a', '{}', undefined],
  ];
  for (const [name, key, text, departs] of cases) {
    it(name, () => {
      const parsed = rules.parse(key, text);
      assert.ok(parsed.ok);
      assert.equal(departureOf(key, parsed.typed, 7)?.node, departs);
    });
  }
});
