import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pathRegexProblem } from '../../../registry/documents/path-regex.ts';

describe('pathRegexProblem', () => {
  const accepted = [
    '^/x',
    '^/v[0-9]+/',
    '^/[^/]+/[^/]+/edit$',
    '^/(?:a|b)/[a-z]*$',
    '^/users/(\\d{1,10})(?:/orders)?$',
    '^/.*\\.png$',
    '^/(?:ab)+$',
    '^/[a-z]+-[0-9]+$',
    '^/a{3}b?$',
    '^/[\\]/]{2}x$',
    '^/\\w+\\.\\w+$',
    '^/(?:img|css)/[^/.]*?\\.[a-z]{2,4}$',
    '^/v\\d?\\d?(?:/a)?(?:/b)?(?:/c)?$',
    '^/(?:orders|shops|carts|users|files|items|pages|posts)/(?:a|b|c|d)?$',
    `^/${'(?:a|b)?'.repeat(5)}!$`,
  ];
  for (const pattern of accepted) {
    it(`accepts ${pattern}`, () => {
      assert.equal(pathRegexProblem(pattern), undefined);
    });
  }

  const EXPONENTIAL =
    'a repeat inside a repeat (or alternatives inside one) can take exponential time';
  const QUADRATIC =
    'two repeats that match the same characters take quadratic time: put a character that neither matches between them, as in "^/[^/]+/[^/]+$"';
  const WAYS =
    'more than 64 ways to match one path: use fewer optional parts and alternatives that begin with the same characters';
  const LOOK = 'lookarounds and named groups cannot be matched in linear time: leave out';
  const refused: readonly [pattern: string, why: string][] = [
    ['/x', 'not anchored: it must start with "^"'],
    ['^/(', 'not a regular expression: Unterminated group'],
    ['^/ü', 'not printable ASCII (paths are percent-encoded)'],
    [`^/${'a'.repeat(255)}`, 'longer than 256 characters'],
    ['^/a|/b', '"^" covers only the first alternative: write "^(?:…|…)"'],
    ['^/(?=a)', LOOK],
    ['^/(?!a)', LOOK],
    ['^/(?<=a)', LOOK],
    ['^/(?<n>a)', LOOK],
    ['^/(a)\\1', 'backreferences cannot be matched in linear time'],
    ['^/\\bx', '"\\b" is not supported in a path: write the characters themselves'],
    ['^/(a+)+$', EXPONENTIAL],
    ['^/(?:a|a)*$', EXPONENTIAL],
    ['^/(?:aa?)*$', EXPONENTIAL],
    ['^/(?:(?:a*)b){2,9}$', EXPONENTIAL],
    ['^/(?:a*){3}$', EXPONENTIAL],
    ['^/(?:[a-z]+)?[a-z]+$', QUADRATIC],
    ['^/.*.*$', QUADRATIC],
    ['^/.*/x/.*$', QUADRATIC],
    ['^/a+a{2,5}$', QUADRATIC],
    ['^/(?:a+|b)a+$', QUADRATIC],
    ['^/a*b?a*$', QUADRATIC],
    [`^/${'b?'.repeat(30)}\\.`, WAYS],
    [`^/${'(?:aa|a)'.repeat(20)}b`, WAYS],
    [`^/${'(?:a|b)?'.repeat(20)}!`, WAYS],
    [`^/${'(?:a?|b)'.repeat(20)}!`, WAYS],
    [`^/(?:${'a?'.repeat(20)}|b)!`, WAYS],
  ];
  for (const [pattern, why] of refused) {
    it(`refuses ${pattern.length > 40 ? 'a long one' : pattern}`, () => {
      assert.equal(pathRegexProblem(pattern), why);
    });
  }

  // The promise itself: what is accepted stays quick on a path made to make it backtrack.
  for (const pattern of accepted) {
    it(`matches ${pattern} in linear time`, () => {
      const regex = new RegExp(pattern);
      const spent = (length: number) => {
        const paths = ['a', 'ab', '.', 'a.', '0', '/a'].map((unit) => `/${unit.repeat(length)}!`);
        const start = performance.now();
        for (const path of paths) regex.test(path);
        return performance.now() - start;
      };
      spent(10);
      // Quadratic time would be 10^10 steps: many seconds.
      assert.ok(spent(100_000) < 1_000);
    });
  }
});
