import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatProblem } from '#kit/problem.ts';
import { parseJson } from '../../../registry/documents/json.ts';

describe('parseJson', () => {
  it('takes comments, trailing commas and a byte order mark', () => {
    const text = '\ufeff/* a */ {"a": [1, 2,], // b\n "b": {"c": null,},}\n';
    assert.deepEqual(parseJson(text), { ok: true, value: { a: [1, 2], b: { c: null } } });
  });

  it('takes 32 levels and 256 KiB', () => {
    assert.ok(parseJson('['.repeat(32) + ']'.repeat(32)).ok);
    assert.ok(parseJson(`"${'x'.repeat(256 * 1024 - 2)}"`).ok);
  });

  const VALUE =
    'a value: a text in double quotes, a number, true, false, null, a list or an object';
  const rows: readonly [name: string, text: string, ...problems: string[]][] = [
    ['nothing', '', '$: wanted a value; got the end of the text at line 1, column 1'],
    [
      'single quotes',
      "{'host': 'a'}",
      '$: wanted double quotes (") around names and texts; got "\'host\'" at line 1, column 2',
    ],
    [
      'quotes from a word processor',
      '{“host”: 1}',
      '$: wanted double quotes (") around names and texts; got "“host”" at line 1, column 2',
    ],
    [
      'a bare field name',
      '{\n  host: "a"}',
      '$: wanted a field name in double quotes; got "host" at line 2, column 3',
    ],
    ['a bare text', '{"to": web}', `$: wanted ${VALUE}; got "web" at line 1, column 8`],
    [
      'a misspelt word',
      '{"enabled": ture}',
      `$: wanted ${VALUE}; got "ture" at line 1, column 13. Did you mean "true"?`,
    ],
    [
      'a missing comma',
      '{"a": 1 "b": 2}',
      '$: wanted "," between two fields or elements; got "\\"b\\"" at line 1, column 9',
    ],
    [
      'a missing colon',
      '{"a" 1}',
      '$: wanted ":" between a field and its value; got "1" at line 1, column 6',
    ],
    [
      'a missing brace',
      '{"a": 1',
      '$: wanted "}" at the end of the object; got the end of the text at line 1, column 8',
    ],
    [
      'a brace too many',
      '{"a": 1}}',
      '$: wanted nothing after the document; got "}" at line 1, column 9',
    ],
    [
      'a text that does not end',
      '{"a": "x\n}',
      '$: wanted a closing double quote on the same line; got "\\"x" at line 1, column 7',
    ],
    [
      'a comment that does not end, with nothing in it',
      '{"a": 1}/*',
      '$: wanted "*/" at the end of the comment; got "/*" at line 1, column 9',
    ],
    [
      'a raw control character',
      '{"a": "\u0000"}',
      '$: wanted control characters in a text written as \\n, \\t or \\u0000; got "\\"\\u0000\\"" at line 1, column 7',
    ],
    [
      'a field twice',
      '{"a": 1,\n "b": {"c": 1, "c": 2}, "a": 3}',
      '$.b: wanted each field once; got another "c" at line 2, column 16',
      '$: wanted each field once; got another "a" at line 2, column 25',
    ],
    [
      '__proto__',
      '{"__proto__": {"to": "web"}}',
      '$: wanted a field with another name; got "__proto__" at line 1, column 2',
    ],
    ['33 levels', '['.repeat(33), '$: wanted at most 32 levels of nesting; got more'],
    [
      'levels that would overflow the stack',
      '{"a":'.repeat(50_000),
      '$: wanted at most 32 levels of nesting; got more',
    ],
    [
      'more than 256 KiB',
      `"${'ü'.repeat(128 * 1024)}"`,
      '$: wanted a document of at most 256 KiB; got 257 KiB',
    ],
  ];
  for (const [name, text, ...problems] of rows) {
    it(`refuses ${name}`, () => {
      const json = parseJson(text);
      assert.deepEqual(json.ok ? [] : json.problems.map(formatProblem), problems);
    });
  }

  it('says no more than 20 things about one text', () => {
    for (const text of [
      `{${'"a": 1,'.repeat(100)}}`,
      `{"a": [${'{"b": 1, "b": 2},'.repeat(100)}]}`,
    ]) {
      const json = parseJson(text);
      assert.equal(json.ok ? 0 : json.problems.length, 20);
    }
  });
});
