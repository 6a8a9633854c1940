import { stat } from 'node:fs/promises';
import { EXIT, type ExitCode } from '#kit/errors.ts';
import { parseFlags, usageError } from '#kit/flags.ts';
import { nearest } from '#kit/nearest.ts';
import {
  CONFIG_PREFIX,
  configKey,
  isName,
  kindFromWord,
  NAME_WANTED,
  type ConfigKind,
} from '../../registry/documents/keys.ts';
import type { Store } from '../../registry/store/store.ts';
import { lintFiles, lintStore } from './lint.ts';
import { FILES_HELP } from './object-files.ts';
import { apply, diff, get, KIND_WORDS, remove, type Out } from './objects.ts';
import { openStore, STORE_FLAGS, STORE_USAGE, type StoreFlags } from './open-store.ts';

/** Where a command prints to and what it is set by; a test gives its own. */
export interface ObjectsIo {
  readonly out: Out;
  readonly env: NodeJS.ProcessEnv;
}

const PROCESS_IO: ObjectsIo = {
  out: (line) => process.stdout.write(`${line}\n`),
  env: process.env,
};

const KINDS = `KIND is one of ${KIND_WORDS.join(', ')}; KIND NAME may also be written config/KIND/NAME`;

const GET_USAGE = `\
gatemesh get [KIND [NAME]]
the objects under config/, or one as it stands; ${KINDS}
${STORE_USAGE}`;

const APPLY_USAGE = `\
gatemesh apply -f FILE|DIR|- [-f …]
gatemesh apply KIND NAME -f FILE|-
checks all objects, then writes them in one transaction
  -f             ${FILES_HELP}
  KIND NAME      FILE, of any name, is this one object as "get KIND NAME" prints it; ${KINDS}
${STORE_USAGE}`;

const DELETE_USAGE = `\
gatemesh delete KIND NAME [--force]
${KINDS}
  --force        also when other objects point at it
${STORE_USAGE}`;

const DIFF_USAGE = `\
gatemesh diff -f FILE|DIR|- [-f …]
gatemesh diff KIND NAME -f FILE|-
what apply would change; exits 1 when there is something
  -f             ${FILES_HELP}
  KIND NAME      FILE, of any name, is this one object as "get KIND NAME" prints it; ${KINDS}
${STORE_USAGE}`;

const LINT_USAGE = `\
gatemesh lint [FILE|DIR|- …]
every problem of every key in the registry, or of the files, without a registry; exits 1 when there is one
  FILE           ${FILES_HELP}
${STORE_USAGE}`;

const FILE_FLAGS = {
  ...STORE_FLAGS,
  file: { type: 'string', short: 'f', multiple: true },
} as const;

/** `gatemesh get` */
export async function runGet(argv: readonly string[], io = PROCESS_IO): Promise<ExitCode> {
  const command = 'gatemesh get';
  const { values, positionals } = parseFlags(command, argv, STORE_FLAGS, GET_USAGE);
  if (values.help === true) return help(io, GET_USAGE);
  const [word, name, ...more] = wordsOf(positionals);
  if (more.length > 0) throw tooMany(command, positionals, '[KIND [NAME]]', GET_USAGE);
  const kind = word === undefined ? undefined : kindOf(command, word, GET_USAGE);
  if (kind !== undefined && name !== undefined) checkName(command, kind, name, GET_USAGE);
  const args = {
    json: values.json === true,
    ...(kind === undefined ? {} : { kind }),
    ...(name === undefined ? {} : { name }),
  };
  return withStore(command, values, io, (store) => get(args, store, io.out));
}

/** `gatemesh apply` */
export async function runApply(argv: readonly string[], io = PROCESS_IO): Promise<ExitCode> {
  return withFiles('gatemesh apply', argv, io, APPLY_USAGE, apply);
}

/** `gatemesh diff` */
export async function runDiff(argv: readonly string[], io = PROCESS_IO): Promise<ExitCode> {
  return withFiles('gatemesh diff', argv, io, DIFF_USAGE, diff);
}

/** `gatemesh delete` */
export async function runDelete(argv: readonly string[], io = PROCESS_IO): Promise<ExitCode> {
  const command = 'gatemesh delete';
  const flags = { ...STORE_FLAGS, force: { type: 'boolean' } } as const;
  const { values, positionals } = parseFlags(command, argv, flags, DELETE_USAGE);
  if (values.help === true) return help(io, DELETE_USAGE);
  const one = oneObject(command, positionals, DELETE_USAGE);
  const args = { ...one, force: values.force === true, json: values.json === true };
  return withStore(command, values, io, (store) => remove(args, store, io.out));
}

/** `gatemesh lint` */
export async function runLint(argv: readonly string[], io = PROCESS_IO): Promise<ExitCode> {
  const command = 'gatemesh lint';
  const { values, positionals } = parseFlags(command, argv, STORE_FLAGS, LINT_USAGE);
  if (values.help === true) return help(io, LINT_USAGE);
  const json = values.json === true;
  if (positionals.length > 0) return lintFiles({ files: positionals, json }, io.out);
  return withStore(command, values, io, (store) => lintStore({ json }, store, io.out));
}

type FilesCommand = (
  args: { readonly files: readonly string[]; readonly key?: string; readonly json: boolean },
  store: Store,
  out: Out,
) => Promise<ExitCode>;

async function withFiles(
  command: string,
  argv: readonly string[],
  io: ObjectsIo,
  usage: string,
  run: FilesCommand,
): Promise<ExitCode> {
  const { values, positionals } = parseFlags(command, argv, FILE_FLAGS, usage);
  if (values.help === true) return help(io, usage);
  const one = positionals.length === 0 ? undefined : oneObject(command, positionals, usage);
  const files = values.file ?? [];
  if (files.length === 0) throw usageError(command, 'wanted -f FILE|DIR|-; got nothing', usage);
  if (one !== undefined && (files.length > 1 || (await isFolder(files[0]!)))) {
    const got = files.length > 1 ? `${files.length} times -f` : `the directory ${files[0]}`;
    throw usageError(command, `wanted one file with KIND NAME; got ${got}`, usage);
  }
  const key = one === undefined ? {} : { key: configKey(one.kind, one.name) };
  const args = { files, ...key, json: values.json === true };
  return withStore(command, values, io, (store) => run(args, store, io.out));
}

async function withStore(
  command: string,
  flags: StoreFlags,
  io: ObjectsIo,
  run: (store: Store) => Promise<ExitCode>,
): Promise<ExitCode> {
  const store = await openStore(command, flags, io.env);
  try {
    return await run(store);
  } finally {
    await store.close();
  }
}

function help(io: ObjectsIo, usage: string): ExitCode {
  io.out(`usage: ${usage}`);
  return EXIT.done;
}

async function isFolder(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() === true;
}

/** `config/routes/shop` and `routes/shop`, as keys are shown everywhere, are two words. */
function wordsOf(positionals: readonly string[]): readonly string[] {
  const [first, ...more] = positionals;
  if (first?.includes('/') !== true) return positionals;
  const path = first.startsWith(CONFIG_PREFIX) ? first.slice(CONFIG_PREFIX.length) : first;
  const slash = path.indexOf('/');
  const words = slash === -1 ? [path] : [path.slice(0, slash), path.slice(slash + 1)];
  return [...words.filter((word) => word !== ''), ...more];
}

/** @throws MeshError `usage` unless the words name one object */
function oneObject(
  command: string,
  positionals: readonly string[],
  usage: string,
): { readonly kind: ConfigKind; readonly name: string } {
  const [word, said, ...more] = wordsOf(positionals);
  if (word === undefined || more.length > 0) {
    throw tooMany(command, positionals, 'KIND NAME', usage);
  }
  const kind = kindOf(command, word, usage);
  if (said === undefined && kind !== 'mesh') {
    throw tooMany(command, positionals, 'KIND NAME', usage);
  }
  const name = said ?? 'mesh';
  checkName(command, kind, name, usage);
  return { kind, name };
}

function tooMany(command: string, words: readonly string[], wanted: string, usage: string) {
  const got = words.length === 0 ? 'nothing' : words.map((word) => JSON.stringify(word)).join(' ');
  return usageError(command, `wanted ${wanted}; got ${got}`, usage);
}

function kindOf(command: string, word: string, usage: string): ConfigKind {
  const kind = kindFromWord(word);
  if (kind !== undefined) return kind;
  const near = nearest(word, KIND_WORDS);
  const hint = near === undefined ? '' : `. Did you mean "${near}"?`;
  throw usageError(command, `unknown kind "${word}"${hint}`, usage);
}

function checkName(command: string, kind: ConfigKind, name: string, usage: string): void {
  const valid =
    kind === 'mesh' ? name === 'mesh' : isName(name) || (kind === 'intentions' && name === '*');
  if (valid) return;
  const wanted = kind === 'mesh' ? 'no name after "mesh", which there is only one of' : NAME_WANTED;
  throw usageError(command, `wanted ${wanted}; got ${JSON.stringify(name)}`, usage);
}
