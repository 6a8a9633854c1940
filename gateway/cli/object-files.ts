import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { EXIT, MeshError } from '#kit/errors.ts';
import { formatProblem, type Problem } from '#kit/problem.ts';
import { formatDocument } from '../../registry/documents/format.ts';
import { parseJson } from '../../registry/documents/json.ts';
import { CONFIG_PREFIX, configKey, folderOf, kindFromWord } from '../../registry/documents/keys.ts';
import { parseDocument } from '../../registry/documents/parse.ts';
import type { TypedDocument } from '../../registry/documents/types.ts';

/** An object as a file gives it. */
export interface SourceObject {
  /** For messages: the file it is in. */
  readonly source: string;
  readonly key: string;
  /** Canonical. */
  readonly text: string;
  readonly typed: TypedDocument;
}

export interface SourceProblem extends Problem {
  readonly source: string;
  /** Absent when the text does not even say which object it is. */
  readonly key?: string;
}

export interface SourceObjects {
  readonly objects: readonly SourceObject[];
  readonly problems: readonly SourceProblem[];
  /** Files that somebody may have meant, in a language that documents are not written in. */
  readonly unread: readonly string[];
}

type Content = Omit<SourceObjects, 'unread'>;

/** A backup of the whole configuration is one text. */
const LONGEST_BUNDLE_BYTES = 64 * 1024 * 1024;

export const FILES_HELP =
  'FILE is <kind>/<name>.json (routes/shop.json, mesh.json), or any JSON file of the form {"config/routes/shop": {…}, …} ' +
  'as "get --json" prints it; a directory stands for its files; "-" reads the second form from standard input';

/**
 * The objects in files, in directories laid out as `<kind>/<name>.json`, and on standard input (`-`).
 *
 * @param as the key of the object when a single file is that one object and nothing else
 * @throws MeshError `file_unreadable` (exit code 64); problems in the content are returned, all of them
 */
export async function readObjects(
  paths: readonly string[],
  as?: string,
  stdin: AsyncIterable<Uint8Array> = process.stdin,
): Promise<SourceObjects> {
  const objects: SourceObject[] = [];
  const problems: SourceProblem[] = [];
  const placed = new Map<string, string>();
  const { texts, unread } = await readTexts(paths, stdin);
  for (const { source, text } of texts) {
    const read = as === undefined ? fromText(source, text) : fromText(source, text, as);
    problems.push(...read.problems);
    for (const object of read.objects) {
      const other = placed.get(object.key);
      if (other !== undefined) {
        const got = `one more, the other is in ${other}`;
        problems.push({ source, key: object.key, path: '$', wanted: 'each object once', got });
      }
      placed.set(object.key, source);
      objects.push(object);
    }
  }
  return { objects, problems, unread };
}

interface SourceText {
  readonly source: string;
  readonly text: string;
}

async function readTexts(
  paths: readonly string[],
  stdin: AsyncIterable<Uint8Array>,
): Promise<{ readonly texts: readonly SourceText[]; readonly unread: readonly string[] }> {
  const texts: SourceText[] = [];
  const unread: string[] = [];
  for (const path of paths) {
    if (path === '-') {
      texts.push({ source: 'standard input', text: await readAll(stdin) });
      continue;
    }
    try {
      const files = (await stat(path)).isDirectory() ? await filesIn(path) : [path];
      for (const source of files) {
        if (YAML.test(source)) unread.push(source);
        else texts.push({ source, text: await readFile(source, 'utf8') });
      }
    } catch (cause) {
      const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
      const why = code === 'ENOENT' ? 'there is no such file or directory' : code;
      throw new MeshError('file_unreadable', `cannot read ${path}: ${why}`, {
        cause,
        exitCode: EXIT.usage,
      });
    }
  }
  return { texts, unread };
}

const YAML = /\.ya?ml$/i;

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter(({ name }) => /^[^.].*\.json$/.test(name) || YAML.test(name))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

function fromText(source: string, text: string, as?: string): Content {
  const json = parseJson(text, LONGEST_BUNDLE_BYTES);
  const key = as ?? keyOfFile(source);
  if (!json.ok) {
    const where = { source, ...(key === undefined ? {} : { key }) };
    return { objects: [], problems: json.problems.map((problem) => ({ ...where, ...problem })) };
  }
  const bundle = as === undefined ? bundleOf(json.value) : undefined;
  if (bundle !== undefined) return fromBundle(source, bundle);
  if (key !== undefined) return fromDocument(source, key, text, json.value);
  const wanted = `a name that says which object this is. ${FILES_HELP}`;
  return { objects: [], problems: [{ source, path: '$', wanted, got: 'neither' }] };
}

/** `…/routes/shop.json` is `config/routes/shop`, `…/mesh.json` is `config/mesh`. */
function keyOfFile(file: string): string | undefined {
  if (extname(file) !== '.json') return undefined;
  const name = basename(file, '.json');
  const folder = basename(dirname(file));
  const kind = kindFromWord(folder);
  if (kind !== undefined && kind !== 'mesh') return `${CONFIG_PREFIX}${folderOf(kind)}/${name}`;
  return name === 'mesh' ? configKey('mesh', name) : undefined;
}

function bundleOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const fields = Object.keys(value);
  const isBundle = fields.length > 0 && fields.every((field) => field.startsWith(CONFIG_PREFIX));
  return isBundle ? (value as Readonly<Record<string, unknown>>) : undefined;
}

function fromBundle(source: string, bundle: Readonly<Record<string, unknown>>): Content {
  const all = Object.entries(bundle).map(([key, value]) => {
    return fromDocument(source, key, JSON.stringify(value), value);
  });
  return {
    objects: all.flatMap(({ objects }) => objects),
    problems: all.flatMap(({ problems }) => problems),
  };
}

function fromDocument(source: string, key: string, text: string, value: unknown): Content {
  const parsed = parseDocument(key, text);
  if (!parsed.ok) {
    return {
      objects: [],
      problems: parsed.problems.map((problem) => ({ source, key, ...problem })),
    };
  }
  const object = { source, key, text: formatDocument(value), typed: parsed.typed };
  return { objects: [object], problems: [] };
}

export function unreadLines(files: readonly string[]): string[] {
  return files.map((file) => `documents are JSON; ${file} is not read`);
}

/** `routes/shop.json: config/routes/shop: $.to: wanted …` */
export function formatSourceProblem({ source, key, ...problem }: SourceProblem): string {
  return [source, key, formatProblem(problem)].filter((part) => part !== undefined).join(': ');
}
