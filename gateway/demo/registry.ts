import { MeshError } from '#kit/errors.ts';
import { NODES_PREFIX, STATUS_PREFIX } from '../../registry/documents/keys.ts';
import { parseDocument, parseStatus } from '../../registry/documents/parse.ts';
import type {
  InstanceDocument,
  Rejection,
  StatusDocument,
} from '../../registry/documents/types.ts';
import type { Store } from '../../registry/store/store.ts';
import { NODES } from './plan.ts';

/** What every gateway has to say about one revision comes within this; the promise is one second. */
const IN_FORCE_WITHIN_MS = 10_000;
const LOOK_EVERY_MS = 10;

/** The registry as the person in front of the demo uses it: puts documents, looks at what the gateways report. */
export interface DemoRegistry {
  put(key: string, value: string): Promise<number>;
  delete(key: string): Promise<number>;
  /**
   * Waits until all gateways report that this revision is in force; gives the milliseconds it took.
   * @throws MeshError `demo_not_in_force` with who is behind
   */
  inForce(revision: number): Promise<number>;
  /** What each gateway rejects of `key`; undefined for a gateway that is content with it. */
  rejections(key: string): Promise<ReadonlyMap<string, Rejection | undefined>>;
  instances(service: string): Promise<readonly InstanceDocument[]>;
}

export function demoRegistry(store: Store): DemoRegistry {
  async function statuses(): Promise<ReadonlyMap<string, StatusDocument>> {
    const { entries } = await store.range(STATUS_PREFIX);
    const found = entries.flatMap(({ key, value }) => {
      const parsed = parseStatus(key, value);
      return parsed.ok ? [[parsed.status.node, parsed.status] as const] : [];
    });
    return new Map(found);
  }

  return {
    async put(key, value) {
      return (await store.put(key, value)).revision;
    },
    async delete(key) {
      return (await store.delete(key)).revision;
    },
    async inForce(revision) {
      const began = performance.now();
      for (;;) {
        const applied = await statuses();
        const behind = NODES.filter(({ name }) => !((applied.get(name)?.applied ?? 0) >= revision));
        const waitedMs = performance.now() - began;
        if (behind.length === 0) return waitedMs;
        if (waitedMs > IN_FORCE_WITHIN_MS) {
          const names = behind.map(({ name }) => `${name} (at ${applied.get(name)?.applied})`);
          throw new MeshError(
            'demo_not_in_force',
            `revision ${revision} is not in force after ${IN_FORCE_WITHIN_MS / 1_000} s at ${names.join(', ')}`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      }
    },
    async rejections(key) {
      const reported = await statuses();
      return new Map(
        NODES.map(({ name }) => [
          name,
          reported.get(name)?.rejected.find((rejection) => rejection.key === key),
        ]),
      );
    },
    async instances(service) {
      const { entries } = await store.range(NODES_PREFIX);
      return entries.flatMap(({ key, value }) => {
        const parsed = parseDocument(key, value);
        if (!parsed.ok || parsed.typed.kind !== 'instances') return [];
        const { document } = parsed.typed;
        return document.service === service ? [document] : [];
      });
    },
  };
}
