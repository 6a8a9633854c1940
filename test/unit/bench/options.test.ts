import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MeshError } from '#kit/errors.ts';
import { parseOptions, usage } from '../../bench/options.ts';

const NAMES = ['hop', 'pair-32', 'rest'];

function refusal(...argv: readonly string[]): string {
  try {
    parseOptions(argv, NAMES);
  } catch (error) {
    assert.ok(error instanceof MeshError && error.exitCode === 64);
    return error.message;
  }
  return assert.fail('it was taken');
}

describe('options of the bench', () => {
  it('are everything, five rounds of two seconds', () => {
    assert.deepEqual(parseOptions([], NAMES), {
      only: NAMES,
      rounds: 5,
      pace: { seconds: 2, quick: false },
      json: undefined,
      markdown: undefined,
    });
  });

  it('take several names, by comma or repeated', () => {
    const argv = ['--only', 'hop,rest', '--only', 'pair-32'];
    assert.deepEqual(parseOptions(argv, NAMES)!.only, ['hop', 'rest', 'pair-32']);
  });

  it('are short with --quick, as long as nothing else is said', () => {
    const { rounds, pace } = parseOptions(['--quick', '--rounds', '3'], NAMES)!;
    assert.deepEqual({ rounds, pace }, { rounds: 3, pace: { seconds: 1, quick: true } });
  });

  it('say which name is wrong, and which may be meant', () => {
    assert.match(refusal('--only', 'pair-23'), /no measure "pair-23"\. Did you mean "pair-32"\?/);
  });

  it('say what a number has to be', () => {
    assert.match(refusal('--rounds', '0'), /--rounds: wanted an integer >= 1; got "0"/);
    assert.match(refusal('--seconds', '1.5'), /--seconds: .* got "1.5"/);
  });

  it('are listed with all names', () => {
    for (const name of NAMES) assert.ok(usage(NAMES).includes(name));
  });
});
