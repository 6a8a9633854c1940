import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describe as name, formatProblem } from '#kit/problem.ts';

describe('formatProblem', () => {
  it('says where, what was wanted and what was there', () => {
    const problem = { path: '$.to[1].weight', wanted: 'an integer >= 0', got: '"1"' };
    assert.equal(formatProblem(problem), '$.to[1].weight: wanted an integer >= 0; got "1"');
  });

  it('adds the near miss', () => {
    const problem = {
      path: '$',
      wanted: 'one of to, host',
      got: 'the unknown field "hots"',
      hint: 'host',
    };
    assert.equal(
      formatProblem(problem),
      '$: wanted one of to, host; got the unknown field "hots". Did you mean "host"?',
    );
  });
});

describe('describe', () => {
  const cases: readonly (readonly [value: unknown, text: string])[] = [
    [undefined, 'nothing'],
    [null, 'null'],
    [true, 'true'],
    [0, '0'],
    [-1.5, '-1.5'],
    [Number.NaN, 'NaN'],
    [Number.POSITIVE_INFINITY, 'Infinity'],
    [10n, '10n'],
    ['', '""'],
    ['5 s', '"5 s"'],
    ['a "quoted"\nline', String.raw`"a \"quoted\"\nline"`],
    ['x'.repeat(58), `"${'x'.repeat(58)}"`],
    ['x'.repeat(59), 'a string of 61 characters'],
    [[], 'a list of 0'],
    [[1, 2, 3], 'a list of 3'],
    [{ password: 'secret' }, 'an object'],
  ];
  for (const [value, text] of cases) {
    it(text, () => {
      assert.equal(name(value), text);
    });
  }
});
