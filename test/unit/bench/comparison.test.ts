import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Bed } from '../../bench/bed.ts';
import { Comparison } from '../../bench/comparison.ts';
import { Unusable, type Entrant, type Measure, type Unit } from '../../bench/measure.ts';
import type { Row } from '../../bench/report.ts';
import { Stand } from '../../bench/stand.ts';

const COST: Unit = { key: 'cost', name: 'µs', better: 'lower' };

/** Gives these one by one; an error is thrown. */
function entrant(name: string, ...gives: readonly (number | Error)[]): Entrant {
  const left = [...gives];
  return {
    name,
    take: () => {
      const next = left.shift();
      if (typeof next === 'number') return Promise.resolve({ values: { cost: next }, seen: {} });
      return Promise.reject(next ?? new Error('asked too often'));
    },
  };
}

async function rowsAfter(rounds: number, measure: Partial<Measure>): Promise<readonly Row[]> {
  const bed = new Bed({ proxy: 0, load: 0 });
  try {
    const stand = new Stand(bed, { seconds: 1, quick: true });
    const whole: Measure = {
      name: 'test',
      title: 'a test',
      units: [COST],
      ours: () => Promise.resolve([]),
      peers: () => Promise.resolve([]),
      ...measure,
    };
    const comparison = await Comparison.prepare(whole, stand);
    for (let round = 0; round < rounds; round++) await comparison.run(round);
    return comparison.rows();
  } finally {
    await bed.close();
  }
}

/** Ours and one peer with a target. */
function beside(
  ours: readonly (number | Error)[],
  peer: readonly (number | Error)[],
  target?: number,
): Partial<Measure> {
  return {
    ours: () => Promise.resolve([entrant('ours', ...ours)]),
    peers: () =>
      Promise.resolve([
        { entrant: entrant('peer', ...peer), ...(target === undefined ? {} : { target }) },
      ]),
  };
}

describe('a row', () => {
  it('has the ratio of the medians', async () => {
    const [row] = await rowsAfter(3, beside([9, 30, 12], [8, 4, 100], 1.5));
    assert.deepEqual(row, {
      name: 'test',
      measure: 'a test',
      unit: 'µs',
      oursName: 'ours',
      ours: 12,
      peerName: 'peer',
      peer: 8,
      ratio: 1.5,
      target: '≤ 1.5 ×',
      verdict: 'met',
    });
  });

  const verdicts: readonly [what: string, measure: Partial<Measure>, verdict: Row['verdict']][] = [
    ['above its target', beside([16], [10], 1.5), 'missed'],
    ['without a target', beside([16], [10]), 'stated'],
    ['whose peer failed', beside([16], [new Error('down')], 1.5), 'not measured'],
    ['of ours that failed', beside([new Error('down')], [16], 1.5), 'not measured'],
    ['whose peer adds nothing: there is no ratio', beside([16], [-1], 1.5), 'not measured'],
    [
      'where more is better, at the target',
      { ...beside([5], [10], 0.5), units: [{ ...COST, better: 'higher' }] },
      'met',
    ],
    [
      'where more is better, below the target',
      { ...beside([4.9], [10], 0.5), units: [{ ...COST, better: 'higher' }] },
      'missed',
    ],
    ['within a bound of its own', { ...beside([8], [1]), units: [{ ...COST, atMost: 8 }] }, 'met'],
    [
      'beyond a bound of its own',
      { ...beside([8.1], [10]), units: [{ ...COST, atMost: 8 }] },
      'missed',
    ],
  ];
  for (const [what, measure, verdict] of verdicts) {
    it(`${what} is ${verdict}`, async () => {
      const [row] = await rowsAfter(1, measure);
      assert.equal(row!.verdict, verdict);
    });
  }

  it('stands alone where there is no peer', async () => {
    const rows = await rowsAfter(1, { ...beside([3], []), peers: () => Promise.resolve([]) });
    assert.deepEqual(
      rows.map(({ ours, peerName, verdict }) => [ours, peerName, verdict]),
      [[3, '', 'stated']],
    );
  });

  it('of a further unit has no target', async () => {
    const units: Measure['units'] = [COST, { ...COST, name: 'ms' }];
    const rows = await rowsAfter(1, { ...beside([3], [1], 1.5), units });
    assert.deepEqual(
      rows.map(({ unit, verdict }) => [unit, verdict]),
      [
        ['µs', 'missed'],
        ['ms', 'stated'],
      ],
    );
  });
});

describe('a comparison', () => {
  it('leaves out a round that says nothing', async () => {
    const busy = new Unusable('busy');
    const [row] = await rowsAfter(3, beside([10, busy, 12], [1, 1, 1]));
    assert.equal(row!.ours, 11);
  });

  it('has no figure when no round says anything', async () => {
    const busy = new Unusable('busy');
    const [row] = await rowsAfter(2, beside([busy, busy], [1, 1]));
    assert.equal(row!.verdict, 'not measured');
  });

  it('drops one that does not work, also what it gave before', async () => {
    let asked = 0;
    const breaks: Entrant = {
      name: 'ours',
      take: () =>
        asked++ === 1
          ? Promise.reject(new Error('broke'))
          : Promise.resolve({ values: { cost: 1 }, seen: {} }),
    };
    const [row] = await rowsAfter(3, {
      ...beside([], [1, 2, 3]),
      ours: () => Promise.resolve([breaks]),
    });
    assert.deepEqual([row!.ours, row!.peer, asked], [null, 2, 2]);
  });

  it('begins with another one every round', async () => {
    const order: string[] = [];
    const noting = (name: string): Entrant => ({
      name,
      take: () => {
        order.push(name);
        return Promise.resolve({ values: { cost: 1 }, seen: {} });
      },
    });
    await rowsAfter(3, {
      ours: () => Promise.resolve([noting('a')]),
      peers: () => Promise.resolve([{ entrant: noting('b') }]),
      controls: () => Promise.resolve([noting('c')]),
    });
    assert.equal(order.join(''), 'abcbcacab');
  });

  it('stops after as many rounds as say something', async () => {
    const [row] = await rowsAfter(5, { ...beside([1, 3], [1, 3]), mostRounds: 2 });
    assert.equal(row!.ours, 2);
  });

  it('measures the peers when ours does not start', async () => {
    const [row] = await rowsAfter(1, {
      ...beside([], [7]),
      ours: () => Promise.reject(new Error('no certificate')),
    });
    assert.deepEqual([row!.ours, row!.peer, row!.verdict], [null, 7, 'not measured']);
  });

  it('counts a round as nothing when its beginning says nothing', async () => {
    let round = 0;
    const [row] = await rowsAfter(2, {
      ...beside([5], [5]),
      beginRound: () => (round++ === 0 ? Promise.reject(new Unusable('busy')) : Promise.resolve()),
    });
    assert.equal(row!.ours, 5);
  });
});

describe('Stand', () => {
  it('starts a part once, and not before somebody wants it', async () => {
    const bed = new Bed({ proxy: 0, load: 0 });
    try {
      const stand = new Stand(bed, { seconds: 1, quick: true });
      let started = 0;
      const part = (): Promise<number> => Promise.resolve(++started);
      assert.equal(started, 0);
      assert.deepEqual([await stand.use(part), await stand.use(part)], [1, 1]);
    } finally {
      await bed.close();
    }
  });
});
