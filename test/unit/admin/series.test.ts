import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SeriesCap } from '../../../gateway/admin/series.ts';

function rows(...routes: string[]) {
  return routes.map((route) => ({ labels: { route, direction: 'edge' } }));
}

function routesOf(cap: SeriesCap, ...routes: string[]): string[] {
  return cap.apply(rows(...routes)).map(({ labels }) => labels.route);
}

describe('SeriesCap', () => {
  it('lets the first ones in, whatever the order later', () => {
    const cap = new SeriesCap(2);
    assert.deepEqual(routesOf(cap, 'a', 'b', 'c'), ['a', 'b', 'other']);
    assert.deepEqual(routesOf(cap, 'c', 'b', 'a'), ['other', 'b', 'a']);
  });

  it('gives the place of one that is gone to another', () => {
    const cap = new SeriesCap(2);
    assert.deepEqual(routesOf(cap, 'a', 'b', 'c'), ['a', 'b', 'other']);
    assert.deepEqual(routesOf(cap, 'b', 'c'), ['b', 'c']);
    assert.deepEqual(routesOf(cap, 'a', 'b', 'c'), ['other', 'b', 'c']);
  });

  it('counts equal rows once', () => {
    assert.deepEqual(routesOf(new SeriesCap(2), 'a', 'a', 'b', 'c'), ['a', 'a', 'b', 'other']);
  });

  it('keeps the direction of what it folds', () => {
    const [row] = new SeriesCap(0).apply(rows('a'));
    assert.deepEqual(row, { labels: { route: 'other', direction: 'edge' } });
  });
});
