import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { formatProblem } from '#kit/problem.ts';
import { parseDocument, parseStatus } from '../../../registry/documents/parse.ts';
import { checkReferences, knownOf } from '../../../registry/documents/references.ts';

const VALID: readonly [key: string, document: object][] = [
  [
    'config/routes/r',
    {
      match: {
        hosts: ['a'],
        path: '~^/x',
        methods: ['GET'],
        headers: { a: 'b' },
        query: { a: 'b' },
      },
      gateways: ['g'],
      to: [{ service: 'a', subset: 'v1', weight: 1 }, 'b@v2'],
      timeout: '1s',
      retry: { attempts: 1 },
    },
  ],
  ['config/services/s', { subsets: { v1: { version: '1' } }, outlierDetection: { base: '1s' } }],
  ['config/mesh', { trustDomain: 'a', defaults: { timeout: '1s' } }],
  ['config/intentions/*', { allow: ['a', { from: '*', methods: ['GET'], path: '/' }], deny: [] }],
  [
    'config/gateways/g',
    {
      listeners: [{ port: 1, protocol: 'https', certificates: ['c'], tls: { min: '1.2' } }],
      trustedProxies: ['10.0.0.0/8'],
    },
  ],
  ['config/tcp-routes/t', { gateways: ['g'], port: 1, snis: ['a', '*.b'], to: ['s@v1', 'b'] }],
  ['config/certificates/c', { hosts: ['a'], certFile: '/c', keyFile: '/k' }],
  ['config/nodes/n', { maintenance: true, services: ['a'] }],
  ['nodes/n', { address: 'a:1', zone: 'z', version: '1' }],
  [
    'nodes/n/instances/s/i',
    {
      address: 'a:1',
      app: 'b:1',
      protocol: 'http',
      zone: 'z',
      meta: { a: 'b' },
      state: 'ready',
      health: 'passing',
      since: '2026-09-30T10:00:00Z',
    },
  ],
];

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    '',
    '*',
    '=',
    '~^(a+)+$',
    '/',
    '@',
    'a@',
    '\u0000',
    '1s',
    '__proto__',
    'constructor',
  ),
);
const anything = fc.oneof(
  text,
  fc.jsonValue(),
  fc.constantFrom(-0, 1e308, Number.MAX_SAFE_INTEGER, null, [], {}, [[]], [{}]),
);

/** Puts `value` (or nothing) at one place of a document, chosen by `at`. */
function mutate(node: unknown, at: number, value: unknown, key: string): unknown {
  if (typeof node !== 'object' || node === null || at % 5 === 0) return value;
  if (at % 5 === 1 && !Array.isArray(node)) return { ...node, [key]: value };
  const keys = Object.keys(node);
  if (keys.length === 0) return value;
  const chosen = keys[at % keys.length]!;
  const next = Math.floor(at / keys.length);
  if (Array.isArray(node)) {
    return node.map((item, i) => (String(i) === chosen ? mutate(item, next, value, key) : item));
  }
  const object = node as Readonly<Record<string, unknown>>;
  return { ...object, [chosen]: mutate(object[chosen], next, value, key) };
}

/** Whatever comes in: a document that can be looked at, or problems that can be shown. */
function check(key: string, source: string): void {
  const parsed = parseDocument(key, source);
  if (parsed.ok) {
    assert.ok(Array.isArray(checkReferences(parsed.typed, knownOf([parsed.typed]), source)));
    return;
  }
  assert.ok(parsed.problems.length >= 1 && parsed.problems.length <= 20);
  for (const problem of parsed.problems) {
    assert.match(problem.path, /^\$/);
    // zod's own words would show a field without its own: "Invalid input: expected …".
    assert.doesNotMatch(formatProblem(problem), /Invalid|undefined|\{"known"/);
  }
}

describe('parseDocument never throws', () => {
  it('starts from documents that are valid', () => {
    for (const [key, document] of VALID) {
      assert.deepEqual(parseDocument(key, JSON.stringify(document)).ok, true, key);
    }
  });

  it('on mutated documents', () => {
    const valid = fc.constantFrom(...VALID);
    fc.assert(
      fc.property(valid, fc.nat(1_000_000), anything, text, ([key, document], at, value, name) => {
        const mutated = mutate(document, at, value, name);
        check(key, JSON.stringify(mutated));
      }),
      { numRuns: 3_000 },
    );
  });

  it('on mutated texts', () => {
    const valid = fc.constantFrom(...VALID);
    fc.assert(
      fc.property(valid, fc.nat(400), fc.nat(5), text, ([key, document], at, cut, insert) => {
        const source = JSON.stringify(document);
        check(key, source.slice(0, at) + insert + source.slice(at + cut));
      }),
      { numRuns: 2_000 },
    );
  });

  it('on random texts and keys', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (key, source) => {
        check(key, source);
        check('config/mesh', source);
        assert.equal(parseStatus(`status/${key}`, source).ok, false);
      }),
      { numRuns: 1_000 },
    );
  });
});
