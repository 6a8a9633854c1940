import { readFile } from 'node:fs/promises';
import { replaceFile } from '#kit/atomic-file.ts';
import { fullJitter } from '#kit/backoff.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import { messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { systemRng } from '#kit/rng.ts';
import type { Store } from '../registry/store/store.ts';
import type { Enrolment } from './policy.ts';
import { enrolmentKey, ENROLMENTS, parseEnrolment } from './tokens.ts';

const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 15_000;

/**
 * Which node was enrolled for which services: `ca/nodes/` followed live and copied to a file, so that renewals
 * go on while the registry is away, also after a restart of the authority.
 */
export class Enrolments {
  readonly #store: Store;
  readonly #file: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #byNode = new Map<string, Enrolment>();
  #stopped = false;
  #cancel: Cancel = () => {};
  #attempt = 0;
  #saving: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly store: Store;
    readonly file: string;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#store = options.store;
    this.#file = options.file;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Reads the copy, then follows the registry in the background. */
  async start(): Promise<void> {
    try {
      const saved = JSON.parse(await readFile(this.#file, 'utf8')) as readonly Enrolment[];
      this.#byNode = new Map(saved.map((enrolment) => [enrolment.node, enrolment]));
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      if (!missing) this.#log.warn({ file: this.#file }, `enrolments: ${messageOf(error)}`);
    }
    void this.#follow();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#saving;
  }

  get(node: string): Enrolment | undefined {
    return this.#byNode.get(node);
  }

  /** Known at once, not when the watch tells: the node may ask for more in the next second. */
  add(enrolment: Enrolment): void {
    this.#byNode.set(enrolment.node, enrolment);
    this.#save();
  }

  async #follow(): Promise<void> {
    try {
      const { revision, entries } = await this.#store.range(ENROLMENTS);
      if (this.#stopped) return;
      this.#attempt = 0;
      this.#byNode = new Map();
      for (const { key, value } of entries) this.#put(key, value);
      this.#save();
      this.#cancel = this.#store.watch(ENROLMENTS, revision + 1, {
        onEvents: (_, events) => {
          for (const event of events) {
            if (event.type === 'put') this.#put(event.key, event.entry.value);
            else this.#byNode.delete(event.key.slice(ENROLMENTS.length));
          }
          this.#save();
        },
        onProgress: () => {},
        onLost: (reason) => this.#again(reason),
      });
    } catch (error) {
      this.#again(messageOf(error));
    }
  }

  #again(reason: string): void {
    if (this.#stopped) return;
    this.#log.warn({ reason }, `enrolments are read again from ${this.#store.name}`);
    const waitMs = fullJitter(this.#attempt++, RETRY_BASE_MS, RETRY_MAX_MS, systemRng);
    this.#cancel = this.#clock.after(waitMs, () => void this.#follow());
  }

  #put(key: string, value: string): void {
    const enrolment = parseEnrolment(value);
    if (enrolment !== undefined && key === enrolmentKey(enrolment.node)) {
      this.#byNode.set(enrolment.node, enrolment);
    } else {
      this.#log.error({ key }, 'not an enrolment: what was known of this node stays in force');
    }
  }

  #save(): void {
    const content = JSON.stringify(Array.from(this.#byNode.values()));
    this.#saving = this.#saving
      .then(() => replaceFile(this.#file, content))
      .catch((error: unknown) =>
        this.#log.error({ file: this.#file }, `enrolments not saved: ${messageOf(error)}`),
      );
  }
}
