import { parseArgs } from 'node:util';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import { nearest } from '#kit/nearest.ts';
import type { Pace } from './stand.ts';

export interface Options {
  /** Names of measures. */
  readonly only: readonly string[];
  readonly rounds: number;
  readonly pace: Pace;
  readonly json: string | undefined;
  readonly markdown: string | undefined;
}

export function usage(names: readonly string[]): string {
  return `usage: npm run bench [-- OPTIONS]
  --only NAME      one measure, or several by comma (or repeated):
${wrap(names, 90, '                   ')}
  --rounds N       rounds of every measure (default 5); the figures are their medians
  --seconds N      length of one round of one subject (default 2)
  --quick          one round of one second: shows that it works, not how fast
  --json FILE      all figures, every round, for programs
  --markdown FILE  puts the table between the marks in FILE, such as README.md`;
}

function wrap(names: readonly string[], width: number, indent: string): string {
  const lines: string[] = [];
  for (const name of names) {
    const last = lines.at(-1);
    if (last === undefined || last.length + name.length + 2 > width) lines.push(indent + name);
    else lines[lines.length - 1] = `${last}, ${name}`;
  }
  return lines.join(',\n');
}

/**
 * @param names of all measures
 * @returns undefined: only help is wanted
 * @throws MeshError with exit code 64 that says which option is wrong
 */
export function parseOptions(
  argv: readonly string[],
  names: readonly string[],
): Options | undefined {
  const fail = (problem: string): MeshError =>
    new MeshError('usage', `bench: ${problem}\n${usage(names)}`, { exitCode: EXIT.usage });
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        only: { type: 'string', multiple: true, default: [] },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        quick: { type: 'boolean', default: false },
        json: { type: 'string' },
        markdown: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }));
  } catch (error) {
    throw fail(messageOf(error));
  }
  if (values.help) return undefined;
  const count = (flag: string, text: string | undefined, otherwise: number): number => {
    if (text === undefined) return otherwise;
    const value = Number(text);
    if (Number.isInteger(value) && value >= 1) return value;
    throw fail(`${flag}: wanted an integer >= 1; got "${text}"`);
  };
  const only = values.only.flatMap((list) => list.split(','));
  for (const name of only) {
    if (names.includes(name)) continue;
    const hint = nearest(name, names);
    throw fail(
      `--only: no measure "${name}"${hint === undefined ? '' : `. Did you mean "${hint}"?`}`,
    );
  }
  const { quick, json, markdown } = values;
  return {
    only: only.length === 0 ? names : only,
    rounds: count('--rounds', values.rounds, quick ? 1 : 5),
    pace: { seconds: count('--seconds', values.seconds, quick ? 1 : 2), quick },
    json,
    markdown,
  };
}
