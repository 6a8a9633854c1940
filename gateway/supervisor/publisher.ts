import type { Cancel, Clock } from '#kit/clock.ts';
import { statusKey } from '../../registry/documents/keys.ts';
import type { InstanceDocument, StatusDocument } from '../../registry/documents/types.ts';
import type { DesiredRegistration, WrittenInstance } from './registration.ts';

/** Where leased keys go: the registrar, which keeps the lease and writes only what it does not have yet. */
export interface LeasedKeys {
  set(key: string, value: string | undefined): void;
}

/** Changes of the status that come close together become one write. */
const STATUS_EVERY_MS = 200;

interface Published {
  readonly document: WrittenInstance;
  readonly since: string;
}

/** Keeps this node's keys in the registry as they should be. */
export class Publisher {
  readonly #keys: LeasedKeys;
  readonly #clock: Clock;
  readonly #instances = new Map<string, Published>();
  #cancelStatus: Cancel | undefined;

  constructor(keys: LeasedKeys, clock: Clock) {
    this.#keys = keys;
    this.#clock = clock;
  }

  /** Node and instances; an instance that is no longer among them leaves the registry. */
  register(desired: DesiredRegistration): void {
    const [key, node] = desired.node;
    this.#keys.set(key, JSON.stringify(node));
    const wanted = new Map(desired.instances);
    for (const gone of [...this.#instances.keys()].filter((known) => !wanted.has(known))) {
      this.#instances.delete(gone);
      this.#keys.set(gone, undefined);
    }
    for (const [instance, document] of wanted) {
      const before = this.#instances.get(instance);
      const since = sameStanding(before?.document, document) ? before!.since : this.#nowText();
      this.#instances.set(instance, { document, since });
      this.#keys.set(instance, JSON.stringify({ ...document, since }));
    }
  }

  /** When `state` or `health` of an instance last changed, RFC 3339; undefined for one that is not registered. */
  since(key: string): string | undefined {
    return this.#instances.get(key)?.since;
  }

  /**
   * The status changed; it is written within 200 ms.
   *
   * @param current called when it is written, so that one write carries all changes up to then
   */
  statusChanged(node: string, current: () => Omit<StatusDocument, 'node'>): void {
    this.#cancelStatus ??= this.#clock.after(STATUS_EVERY_MS, () => {
      this.#cancelStatus = undefined;
      this.#keys.set(statusKey(node), JSON.stringify(current()));
    });
  }

  stop(): void {
    this.#cancelStatus?.();
    this.#cancelStatus = undefined;
  }

  #nowText(): string {
    return new Date(this.#clock.wallMs()).toISOString();
  }
}

function sameStanding(before: WrittenInstance | undefined, now: WrittenInstance): boolean {
  const standing = ({ state, health }: Pick<InstanceDocument, 'state' | 'health'>): string =>
    `${state} ${health}`;
  return before !== undefined && standing(before) === standing(now);
}
