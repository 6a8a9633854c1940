import { diff as diffLines } from 'node:util';
import { EXIT, MeshError, type ExitCode } from '#kit/errors.ts';
import { nearest } from '#kit/nearest.ts';
import { formatDocument } from '../../registry/documents/format.ts';
import { parseJson } from '../../registry/documents/json.ts';
import {
  CONFIG_KINDS,
  CONFIG_PREFIX,
  configKey,
  folderOf,
  type ConfigKind,
} from '../../registry/documents/keys.ts';
import { parseDocument } from '../../registry/documents/parse.ts';
import { checkReferences, knownOf } from '../../registry/documents/references.ts';
import type { TypedDocument } from '../../registry/documents/types.ts';
import type { Compare, Entry, Store, TxnOp } from '../../registry/store/store.ts';
import {
  formatSourceProblem,
  readObjects,
  unreadLines,
  type SourceObjects,
  type SourceProblem,
} from './object-files.ts';

export type Out = (line: string) => void;

/** Of `Store.txn`. */
const MOST_OPERATIONS = 128;

export interface GetArgs {
  readonly kind?: ConfigKind;
  readonly name?: string;
  readonly json: boolean;
}

/**
 * Lists objects, or prints one as it stands. With `json`: an object of key to document, which `apply` takes back.
 *
 * @throws MeshError `not_found` when one is asked for by name and there is none
 */
export async function get(args: GetArgs, store: Store, out: Out): Promise<ExitCode> {
  const { kind, name, json } = args;
  const prefix = prefixOf(kind);
  const { entries } = await store.range(prefix);
  const only = kind === 'mesh' ? configKey('mesh', 'mesh') : undefined;
  const key = kind === undefined || name === undefined ? only : configKey(kind, name);
  const chosen = key === undefined ? entries : entries.filter((entry) => entry.key === key);
  if (key !== undefined && chosen.length === 0) throw notFound(key, entries);
  if (json) {
    const bundle = chosen.map((entry) => [entry.key, valueOf(entry.value)] as const);
    out(formatDocument(Object.fromEntries(bundle)).trimEnd());
  } else if (key !== undefined) {
    out(canonical(chosen[0]!.value).trimEnd());
  } else {
    if (chosen.length === 0) out(`nothing under ${prefix}`);
    const width = Math.max(0, ...chosen.map((entry) => entry.key.length));
    for (const entry of chosen) out(`${entry.key.padEnd(width)}  revision ${entry.modRevision}`);
  }
  return EXIT.done;
}

export interface ApplyArgs {
  /** Files, directories, `-`. */
  readonly files: readonly string[];
  /** The one object that the one file holds, whatever its name; absent: the files say which objects they are. */
  readonly key?: string;
  readonly json: boolean;
}

/**
 * Writes objects in one transaction, after checking all of them and what they do to those already there. Nothing is
 * written when anything is wrong, or when somebody else changed one of them meanwhile.
 *
 * @throws MeshError `objects_invalid` (exit code 64) with every problem; `conflict`
 */
export async function apply(args: ApplyArgs, store: Store, out: Out): Promise<ExitCode> {
  const { objects, problems } = await readOnly(args);
  const registry = await Registry.read(store);
  const broken = problems.length > 0 ? [] : registry.brokenBy(objects);
  const all: readonly SourceProblem[] = [...problems, ...broken];
  if (all.length > 0) throw invalid(all);
  const changes = objects.map(({ key, text }) => {
    const before = registry.entries.get(key);
    return { key, text, before, change: changeOf(before, text) };
  });
  const writes = changes.filter(({ change }) => change !== 'unchanged');
  if (writes.length > MOST_OPERATIONS) {
    throw new MeshError(
      'too_many_objects',
      `wanted at most ${MOST_OPERATIONS} changed objects, which fit into one transaction; got ${writes.length}. Apply them in parts`,
      { exitCode: EXIT.usage },
    );
  }
  const revision =
    writes.length === 0
      ? registry.revision
      : await commit(
          store,
          writes.map(({ key, before }) => unchangedSince(key, before)),
          writes.map(({ key, text: value }) => ({ type: 'put', key, value })),
        );
  if (args.json) {
    const done = changes.map(({ key, change }) => ({ key, change }));
    out(formatDocument({ revision, objects: done }).trimEnd());
  } else {
    for (const { key, change } of changes) out(`${key} ${change}`);
    out(`revision ${revision}`);
  }
  return EXIT.done;
}

export interface DeleteArgs {
  readonly kind: ConfigKind;
  readonly name: string;
  /** Also when other objects point at it. */
  readonly force: boolean;
  readonly json: boolean;
}

/** @throws MeshError `not_found`, `still_used`, `conflict` */
export async function remove(args: DeleteArgs, store: Store, out: Out): Promise<ExitCode> {
  const key = configKey(args.kind, args.name);
  const registry = await Registry.read(store);
  const before = registry.entries.get(key);
  if (before === undefined) throw notFound(key, [...registry.entries.values()]);
  const broken = args.force ? [] : registry.brokenBy([], key);
  if (broken.length > 0) {
    const lines = broken.map((problem) => `\n  ${formatSourceProblem(problem)}`).join('');
    throw new MeshError(
      'still_used',
      `${key} is pointed at (--force deletes it all the same):${lines}`,
    );
  }
  const revision = await commit(store, [unchangedSince(key, before)], [{ type: 'delete', key }]);
  out(args.json ? JSON.stringify({ revision, key }) : `${key} deleted\nrevision ${revision}`);
  return EXIT.done;
}

export interface DiffArgs {
  readonly files: readonly string[];
  /** As of `ApplyArgs`. */
  readonly key?: string;
  readonly json: boolean;
}

/**
 * What `apply` would change, line by line.
 *
 * @returns 1 when there is a difference, as diff(1) does
 * @throws MeshError `objects_invalid` (exit code 64)
 */
export async function diff(args: DiffArgs, store: Store, out: Out): Promise<ExitCode> {
  const { objects, problems } = await readOnly(args);
  if (problems.length > 0) throw invalid(problems);
  const registry = await Registry.read(store);
  const changes = objects.map(({ key, text }) => {
    const before = registry.entries.get(key);
    return { key, text, before, change: changeOf(before, text) };
  });
  if (args.json) {
    out(formatDocument(changes.map(({ key, change }) => ({ key, change }))).trimEnd());
  } else {
    for (const { key, text, before, change } of changes) {
      if (change === 'unchanged') continue;
      out(`${key} ${change}`);
      for (const line of linesOfDiff(canonical(before?.value ?? ''), text)) out(line);
    }
  }
  return changes.some(({ change }) => change !== 'unchanged') ? EXIT.failed : EXIT.done;
}

/** @throws MeshError `not_json` (exit code 64): leaving out a file that somebody meant would be a quiet half of the work */
async function readOnly({ files, key }: ApplyArgs | DiffArgs): Promise<SourceObjects> {
  const read = await readObjects(files, key);
  if (read.unread.length === 0) return read;
  throw new MeshError('not_json', unreadLines(read.unread).join('\n'), { exitCode: EXIT.usage });
}

type Change = 'created' | 'changed' | 'unchanged';

function changeOf(before: Entry | undefined, text: string): Change {
  if (before === undefined) return 'created';
  return canonical(before.value) === text ? 'unchanged' : 'changed';
}

/** All documents of the registry, with what they say. */
class Registry {
  readonly revision: number;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly #typed: ReadonlyMap<string, TypedDocument>;
  /** Keys whose text is no document. */
  readonly #rejected: ReadonlySet<string>;

  private constructor(revision: number, entries: readonly Entry[]) {
    this.revision = revision;
    this.entries = new Map(entries.map((entry) => [entry.key, entry]));
    const typed = new Map<string, TypedDocument>();
    const rejected = new Set<string>();
    for (const { key, value } of entries) {
      const parsed = parseDocument(key, value);
      if (parsed.ok) typed.set(key, parsed.typed);
      else rejected.add(key);
    }
    this.#typed = typed;
    this.#rejected = rejected;
  }

  static async read(store: Store): Promise<Registry> {
    const config = await store.range(CONFIG_PREFIX);
    const nodes = await store.range('nodes/');
    return new Registry(config.revision, [...config.entries, ...nodes.entries]);
  }

  /** What would point at nothing after these puts and this deletion, and does not already. */
  brokenBy(
    puts: readonly {
      readonly key: string;
      readonly source: string;
      readonly text: string;
      readonly typed: TypedDocument;
    }[],
    deleted?: string,
  ): SourceProblem[] {
    const after = new Map(this.#typed);
    if (deleted !== undefined) after.delete(deleted);
    for (const { key, typed } of puts) after.set(key, typed);
    const put = new Map(puts.map((one) => [one.key, one]));
    const rejected = this.#rejected.difference(new Set([...put.keys(), deleted]));
    const knownBefore = knownOf(this.#typed.values(), this.#rejected);
    const knownAfter = knownOf(after.values(), rejected);
    return [...after].flatMap(([key, typed]) => {
      const own = put.get(key);
      const entry = this.entries.get(key);
      const text = own?.text ?? entry!.value;
      const problems = checkReferences(typed, knownAfter, text);
      if (own === undefined && checkReferences(typed, knownBefore, text).length > 0) return [];
      const source = own?.source ?? sourceOf(entry!);
      return problems.map((problem) => ({ source, key, ...problem }));
    });
  }
}

/** What a problem of something in the registry begins with. */
export function sourceOf({ modRevision }: Pick<Entry, 'modRevision'>): string {
  return `registry, revision ${modRevision}`;
}

function prefixOf(kind: ConfigKind | undefined): string {
  if (kind === undefined || kind === 'mesh') return CONFIG_PREFIX;
  return `${CONFIG_PREFIX}${folderOf(kind)}/`;
}

/** The value of a text that may be broken: then the text itself. */
function valueOf(text: string): unknown {
  const json = parseJson(text);
  return json.ok ? json.value : text;
}

function canonical(text: string): string {
  const json = parseJson(text);
  return json.ok ? formatDocument(json.value) : text;
}

function linesOfDiff(before: string, after: string): string[] {
  const marks = { '-1': '+', '0': ' ', '1': '-' } as const;
  const lines = diffLines(linesOf(before), linesOf(after));
  return lines.map(([change, line]) => `  ${marks[change]} ${line}`);
}

function linesOf(text: string): string[] {
  return text === '' ? [] : text.trimEnd().split('\n');
}

function unchangedSince(key: string, before: Entry | undefined): Compare {
  return before === undefined
    ? { key, target: 'version', op: '==', value: 0 }
    : { key, target: 'modRevision', op: '==', value: before.modRevision };
}

async function commit(
  store: Store,
  compare: readonly Compare[],
  success: readonly TxnOp[],
): Promise<number> {
  const { succeeded, revision } = await store.txn({ compare, success });
  if (succeeded) return revision;
  const keys = compare.map(({ key }) => key).join(', ');
  throw new MeshError(
    'conflict',
    `somebody changed ${keys} meanwhile; nothing is written. Run it again`,
  );
}

function notFound(key: string, entries: readonly Entry[]): MeshError {
  // By name within the folder: all keys of a kind are alike in most of their letters.
  const folder = key.slice(0, key.lastIndexOf('/') + 1);
  const names = entries.flatMap((entry) =>
    entry.key.startsWith(folder) ? [entry.key.slice(folder.length)] : [],
  );
  const near = nearest(key.slice(folder.length), names);
  const hint = near === undefined ? '' : `. Did you mean "${folder}${near}"?`;
  return new MeshError('not_found', `there is no ${key} in the registry${hint}`);
}

function invalid(problems: readonly SourceProblem[]): MeshError {
  const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
  const lines = problems.map((problem) => `\n  ${formatSourceProblem(problem)}`).join('');
  return new MeshError('objects_invalid', `${count}; nothing is written:${lines}`, {
    exitCode: EXIT.usage,
  });
}

/** `kind` of the command line: `routes` or `route`. */
export const KIND_WORDS: readonly string[] = CONFIG_KINDS.map((kind) =>
  kind === 'mesh' ? kind : folderOf(kind),
);
