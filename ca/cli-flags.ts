import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DURATION_WANTED, parseDuration } from '#kit/duration.ts';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import { usageError } from '#kit/flags.ts';
import { FILES } from './directory.ts';

/** What the `gatemesh ca` commands have in common on their command lines. All throw MeshError `usage` (exit code 64). */

export function noWords(command: string, positionals: readonly string[], usage: string): void {
  if (positionals.length === 0) return;
  throw usageError(command, `wanted flags only; got the word "${positionals[0]}"`, usage);
}

export function required(
  value: string | undefined,
  command: string,
  flag: string,
  usage: string,
): string {
  if (value !== undefined && value !== '') return value;
  throw usageError(command, `wanted ${flag}; got nothing`, usage);
}

export function durationFlag(
  command: string,
  flag: string,
  value: string | undefined,
  usage: string,
): number | undefined {
  if (value === undefined) return undefined;
  const ms = parseDuration(value);
  if (ms !== undefined && ms > 0) return ms;
  throw usageError(command, `${flag}: wanted ${DURATION_WANTED}; got "${value}"`, usage);
}

/** `--socket`, or the socket in `--dir`. */
export function socketPath(
  command: string,
  values: { readonly dir?: string; readonly socket?: string },
  usage: string,
): string {
  if (values.socket !== undefined) return values.socket;
  if (values.dir !== undefined) return join(values.dir, FILES.socket);
  throw usageError(command, 'wanted --dir or --socket; got neither', usage);
}

/** @throws MeshError `file_unreadable` (exit code 64) */
export async function readText(path: string, flag: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new MeshError('file_unreadable', `${flag}: cannot read ${path}: ${messageOf(cause)}`, {
      cause,
      exitCode: EXIT.usage,
    });
  }
}

/** The first line of the file, for an editor puts a line end there that nobody typed. */
export async function readPassphrase(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const passphrase = (await readText(path, '--passphrase-file')).split(/\r?\n/, 1)[0]!;
  if (passphrase !== '') return passphrase;
  throw new MeshError('usage', `--passphrase-file: the first line of ${path} is empty`, {
    exitCode: EXIT.usage,
  });
}
