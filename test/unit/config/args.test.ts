import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EXIT } from '#kit/errors.ts';
import { parseFlags } from '#kit/flags.ts';

const OPTIONS = {
  file: { type: 'string', short: 'f', multiple: true },
  json: { type: 'boolean' },
} as const;
const USAGE = 'gatemesh apply -f FILE [--json]';

function parse(...argv: string[]) {
  return parseFlags('gatemesh apply', argv, OPTIONS, USAGE);
}

describe('parseFlags', () => {
  it('gives values and words', () => {
    const { values, positionals } = parse('routes', '-f', '-', '--file=b.json', '--json', 'shop');
    assert.deepEqual(values.file, ['-', 'b.json']);
    assert.equal(values.json, true);
    assert.deepEqual(positionals, ['routes', 'shop']);
  });

  it('takes everything after -- as words', () => {
    assert.deepEqual(parse('--', '--jsno').positionals, ['--jsno']);
  });

  const refused: readonly [name: string, argv: readonly string[], problem: string][] = [
    ['a near miss', ['--jsno'], 'unknown flag "--jsno". Did you mean "--json"?'],
    ['a far miss', ['--bananas'], 'unknown flag "--bananas"'],
    ['an unknown short flag', ['-x'], 'unknown flag "-x"'],
    ['a property of every object', ['--constructor'], 'unknown flag "--constructor"'],
    ['a missing value', ['-f'], '-f wants a value; got nothing'],
    ['a value on a switch', ['--json=yes'], '--json takes no value; got "yes"'],
    [
      'a flag where a value belongs',
      ['--file', '--json'],
      '--file wants a value; got the flag "--json" (write --file=--json if it is the value)',
    ],
  ];
  for (const [name, argv, problem] of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(() => parse(...argv), {
        code: 'usage',
        exitCode: EXIT.usage,
        message: `gatemesh apply: ${problem}\nusage: ${USAGE}`,
      });
    });
  }
});
