import { createHash } from 'node:crypto';
import { readFile, rename, rm, link } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '#kit/atomic-file.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import { messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type { DocumentText } from './document-set.ts';

/** What a gateway starts from while the registry is away. */
export interface SnapshotContent {
  /** Of the registry when this was in force. */
  readonly revision: number;
  /** Accepted texts; parsed again on load, by the parser of the day. */
  readonly documents: readonly DocumentText[];
  /** Names of services that were known, so that a route to one without instances stays accepted. */
  readonly services: readonly string[];
}

/** Raised when the file's shape changes; a file of another version is as good as damaged. */
const SCHEMA_VERSION = 1;
const CURRENT = 'snapshot.json';
const PREVIOUS = 'snapshot.previous.json';

/**
 * Replaces the snapshot in a folder and keeps the one before as a second file; both are 0600.
 * Throws what the file system throws; there is a whole file then still.
 */
export async function saveSnapshot(folder: string, content: SnapshotContent): Promise<void> {
  const current = join(folder, CURRENT);
  // A damaged file must not push out the last whole one.
  if ((await readSnapshot(current)).ok) await keepAs(current, join(folder, PREVIOUS));
  const body = JSON.stringify(content);
  const head = JSON.stringify({ schema: SCHEMA_VERSION, sha256: checksumOf(body) });
  await replaceFile(current, `${head}\n${body}\n`, 0o600);
}

/** A second name for the same file, so that at no moment the first one is missing. */
async function keepAs(path: string, second: string): Promise<void> {
  const staged = `${second}.new`;
  await rm(staged, { force: true });
  await link(path, staged);
  await rename(staged, second);
}

/** The newest whole snapshot of a folder; undefined when there is none. What is wrong goes to the log. */
export async function loadSnapshot(folder: string, log: Log): Promise<SnapshotContent | undefined> {
  const current = await readSnapshot(join(folder, CURRENT));
  if (current.ok) return current.content;
  const previous = await readSnapshot(join(folder, PREVIOUS));
  if (previous.ok) {
    log.warn({ folder, error: current.error }, 'using the previous snapshot of the registry');
    return previous.content;
  }
  if (!current.absent || !previous.absent) {
    const errors = [current.error, previous.error];
    log.error({ folder, errors }, 'both snapshots of the registry are damaged: starting with none');
  }
  return undefined;
}

type Read =
  | { readonly ok: true; readonly content: SnapshotContent }
  | { readonly ok: false; readonly absent: boolean; readonly error: string };

async function readSnapshot(path: string): Promise<Read> {
  const damaged = (error: string): Read => ({ ok: false, absent: false, error });
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return { ok: false, absent, error: messageOf(error) };
  }
  try {
    const end = text.indexOf('\n');
    const { schema, sha256 } = JSON.parse(text.slice(0, end)) as Record<string, unknown>;
    if (schema !== SCHEMA_VERSION) {
      return damaged(`${path}: wanted schema ${SCHEMA_VERSION}; got ${String(schema)}`);
    }
    const body = text.slice(end + 1, -1);
    if (sha256 !== checksumOf(body)) return damaged(`${path}: the checksum does not fit`);
    const content: unknown = JSON.parse(body);
    if (!isContent(content)) return damaged(`${path}: not the content of a snapshot`);
    return { ok: true, content };
  } catch (error) {
    return damaged(`${path}: ${messageOf(error)}`);
  }
}

/** Whatever wrote a file with a good checksum: a gateway must come up, with the one before if need be. */
function isContent(value: unknown): value is SnapshotContent {
  const { revision, documents, services } = Object(value) as Readonly<Record<string, unknown>>;
  const isText = (document: unknown): boolean => {
    const { key, revision: at, text } = Object(document) as Readonly<Record<string, unknown>>;
    return typeof key === 'string' && typeof at === 'number' && typeof text === 'string';
  };
  return (
    typeof revision === 'number' &&
    Array.isArray(documents) &&
    documents.every(isText) &&
    Array.isArray(services) &&
    services.every((name) => typeof name === 'string')
  );
}

function checksumOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

const SAVE_EVERY_MS = 1_000;

export interface SnapshotKeeperOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Asked when it is time to write. */
  readonly content: () => SnapshotContent;
}

/** Writes the snapshot after changes, at most once a second. A failure keeps the old file, is logged and counted. */
export class SnapshotKeeper {
  readonly #options: SnapshotKeeperOptions;
  #cancelTimer: Cancel | undefined;
  #saving: Promise<void> = Promise.resolve();
  #failures = 0;
  #failing = false;

  constructor(options: SnapshotKeeperOptions) {
    this.#options = options;
  }

  /** Saves that failed since the start. */
  get failures(): number {
    return this.#failures;
  }

  /** Something changed: it is on disk about a second later. */
  changed(): void {
    this.#cancelTimer ??= this.#options.clock.after(SAVE_EVERY_MS, () => {
      this.#cancelTimer = undefined;
      this.#save();
    });
  }

  /** Writes what is still due. */
  async stop(): Promise<void> {
    if (this.#cancelTimer !== undefined) {
      this.#cancelTimer();
      this.#cancelTimer = undefined;
      this.#save();
    }
    await this.#saving;
  }

  /** One at a time, or two would rename over each other. Never rejects. */
  #save(): void {
    const { folder, log, content } = this.#options;
    this.#saving = this.#saving.then(async () => {
      try {
        await saveSnapshot(folder, content());
        if (this.#failing) log.info({ folder }, 'the snapshot of the registry is saved again');
        this.#failing = false;
      } catch (error) {
        this.#failures++;
        if (!this.#failing) {
          log.error(
            { folder, error: messageOf(error) },
            'cannot save the snapshot of the registry',
          );
        }
        this.#failing = true;
        // The next try comes by itself: the change is still not on disk.
        this.changed();
      }
    });
  }
}
