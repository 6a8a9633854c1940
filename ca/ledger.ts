import { createReadStream } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { MeshError, messageOf } from '#kit/errors.ts';

/** One decision of the authority. Never holds a token, a request's body or anything secret. */
export type LedgerEntry =
  | {
      readonly event: 'issue';
      /** Hex. */
      readonly serial: string;
      readonly identity: string;
      /** SHA-256 of the public key, hex. */
      readonly key: string;
      readonly requester: string;
      readonly notBefore: string;
      readonly notAfter: string;
    }
  | {
      readonly event: 'refuse';
      readonly identity: string;
      readonly code: string;
      readonly requester: string;
    }
  | { readonly event: 'token-mint'; readonly token: string; readonly node: string }
  | {
      readonly event: 'token-redeem';
      readonly token: string;
      readonly node: string;
      readonly requester: string;
    };

interface Waiting {
  readonly line: string;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/** Expired keys are forgotten after this many new ones. */
const SWEEP_EVERY = 1000;

/**
 * The authority's book: one JSON line per decision, append-only. `record` resolves when the line is on disk
 * (fsync), which is before the certificate leaves. Lines that come in together share one fsync.
 */
export class Ledger {
  readonly #path: string;
  readonly #file: FileHandle;
  /** Key hash to the identity it was certified for, while that certificate lives. */
  readonly #owners: Map<string, { readonly identity: string; readonly notAfterMs: number }>;
  #issued: number;
  #waiting: Waiting[] = [];
  #flushing: Promise<void> | undefined;

  private constructor(path: string, file: FileHandle, history: History) {
    this.#path = path;
    this.#file = file;
    this.#owners = history.owners;
    this.#issued = history.issued;
  }

  /** @throws MeshError `ca_ledger_unwritable` */
  static async open(path: string, nowMs: number): Promise<Ledger> {
    try {
      const file = await open(path, 'a+', 0o600);
      const history = await readHistory(path, nowMs);
      // A crash in the middle of a write: the next line must not continue the torn one.
      if (await endsTorn(file)) await file.appendFile('\n');
      return new Ledger(path, file, history);
    } catch (cause) {
      throw unwritable(path, cause);
    }
  }

  /** Certificates issued since the book began. */
  get issued(): number {
    return this.#issued;
  }

  /** The identity a still valid certificate was issued to for this key. */
  ownerOf(key: string, nowMs: number): string | undefined {
    const owner = this.#owners.get(key);
    return owner !== undefined && owner.notAfterMs > nowMs ? owner.identity : undefined;
  }

  /** @throws MeshError `ca_ledger_unwritable` */
  async record(entry: LedgerEntry, nowMs: number): Promise<void> {
    if (entry.event === 'issue') this.#remember(entry, nowMs);
    const line = `${JSON.stringify({ time: new Date(nowMs).toISOString(), ...entry })}\n`;
    await new Promise<void>((done, failed) => {
      this.#waiting.push({ line, done, failed });
      this.#flushing ??= this.#flush();
    });
  }

  async close(): Promise<void> {
    await this.#flushing;
    await this.#file.close();
  }

  #remember(entry: Extract<LedgerEntry, { event: 'issue' }>, nowMs: number): void {
    this.#issued++;
    this.#owners.set(entry.key, {
      identity: entry.identity,
      notAfterMs: Date.parse(entry.notAfter),
    });
    if (this.#issued % SWEEP_EVERY !== 0) return;
    for (const [key, { notAfterMs }] of this.#owners) {
      if (notAfterMs <= nowMs) this.#owners.delete(key);
    }
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#file.appendFile(batch.map(({ line }) => line).join(''));
        await this.#file.datasync();
        for (const { done } of batch) done();
      } catch (cause) {
        for (const { failed } of batch) failed(unwritable(this.#path, cause));
      }
    }
    this.#flushing = undefined;
  }
}

function unwritable(path: string, cause: unknown): MeshError {
  return new MeshError(
    'ca_ledger_unwritable',
    `cannot write the authority's book ${path}: ${messageOf(cause)}. Nothing is signed until it can be`,
    { cause },
  );
}

interface History {
  readonly issued: number;
  readonly owners: Map<string, { readonly identity: string; readonly notAfterMs: number }>;
}

async function endsTorn(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat();
  if (size === 0) return false;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0] !== 0x0a;
}

async function readHistory(path: string, nowMs: number): Promise<History> {
  let issued = 0;
  const owners: History['owners'] = new Map();
  for await (const line of createInterface({
    input: createReadStream(path),
    crlfDelay: Infinity,
  })) {
    if (line === '') continue;
    const entry = parseLine(line);
    if (entry?.event !== 'issue') continue;
    issued++;
    const notAfterMs = Date.parse(entry.notAfter);
    if (notAfterMs > nowMs) owners.set(entry.key, { identity: entry.identity, notAfterMs });
  }
  return { issued, owners };
}

/** Undefined for a line cut short by a crash; what it was to record was never handed out. */
function parseLine(line: string): LedgerEntry | undefined {
  try {
    return JSON.parse(line) as LedgerEntry;
  } catch {
    return undefined;
  }
}

/** Certificates issued, from the book of an authority that may be running; 0 when there is none yet. */
export async function countIssued(path: string, nowMs: number): Promise<number> {
  try {
    return (await readHistory(path, nowMs)).issued;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw new MeshError('ca_unreadable', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}
