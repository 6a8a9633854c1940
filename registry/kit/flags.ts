import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';
import { EXIT, MeshError } from './errors.ts';
import { nearest } from './nearest.ts';

export type { ParseArgsOptionsConfig } from 'node:util';

/** What `parseFlags` gives for options `T`: the values as `util.parseArgs` types them. */
export interface Flags<T extends ParseArgsOptionsConfig> {
  readonly values: FlagValues<T>;
  readonly positionals: readonly string[];
}

type FlagValues<T extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ options: T; strict: true; allowPositionals: true }>
>['values'];

/**
 * The flags and words of one command line.
 *
 * @param command as typed, for the message: `gatemesh get`
 * @param usage one line or several, shown after the message: `gatemesh get [KIND [NAME]] [--json]`
 * @throws MeshError `usage` (exit code 64) with the first flag that is unknown, lacks its value or has one too many
 */
export function parseFlags<T extends ParseArgsOptionsConfig>(
  command: string,
  argv: readonly string[],
  options: T,
  usage: string,
): Flags<T> {
  const args = [...argv];
  // Lenient first: parseArgs' own errors know no near misses and talk about its API.
  const { tokens } = parseArgs({
    args,
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const problem = flagProblem(options, token.name, token.rawName, token.value, token.inlineValue);
    if (problem !== undefined) throw usageError(command, problem, usage);
  }
  const { values, positionals } = parseArgs({
    args,
    options,
    strict: true,
    allowPositionals: true,
  });
  return { values: values, positionals };
}

/** A command line that cannot be meant: exit code 64, the problem, then the usage. */
export function usageError(command: string, problem: string, usage: string): MeshError {
  return new MeshError('usage', `${command}: ${problem}\nusage: ${usage}`, {
    exitCode: EXIT.usage,
  });
}

function flagProblem(
  options: ParseArgsOptionsConfig,
  name: string,
  rawName: string,
  value: string | undefined,
  inline: boolean | undefined,
): string | undefined {
  const option = Object.hasOwn(options, name) ? options[name] : undefined;
  if (option === undefined) {
    const near = nearest(name, Object.keys(options));
    return `unknown flag "${rawName}"${near === undefined ? '' : `. Did you mean "--${near}"?`}`;
  }
  if (option.type === 'boolean') {
    return value === undefined ? undefined : `${rawName} takes no value; got "${value}"`;
  }
  if (value === undefined) return `${rawName} wants a value; got nothing`;
  if (inline !== true && value.length > 1 && value.startsWith('-')) {
    return `${rawName} wants a value; got the flag "${value}" (write ${rawName}=${value} if it is the value)`;
  }
  return undefined;
}
