import type { InstanceDocument, StatusDocument } from '../../registry/documents/types.ts';
import { eventually } from './eventually.ts';

/** The contract's default. */
export const ETCD_PREFIX = '/gatemesh/v1';

/** etcd through Debian's etcdctl: what a person types. */
export interface MeshRegistry {
  /** Text is put as it is, anything else as JSON; gives the revision. */
  put(key: string, value: unknown): Promise<number>;
  delete(key: string): Promise<number>;
  get(key: string): Promise<string | undefined>;
  /** `status/<node>` of every node, in the order of `nodes`. */
  statuses(): Promise<StatusDocument[]>;
  instances(service: string): Promise<Registered[]>;
  /** Waits until `status/<node>` of all nodes says that this revision is in force. */
  inForce(revision: number): Promise<void>;
  /** Waits until everything that is registered by now is in force everywhere. */
  settled(): Promise<void>;
}

/** What a gateway wrote about an instance, and which one. */
export type Registered = Pick<InstanceDocument, 'node' | 'app' | 'health' | 'state'>;

interface Entry {
  /** Relative to the prefix. */
  readonly key: string;
  readonly value: string;
  readonly revision: number;
}

/** As etcdctl prints it: base64. */
interface Listed {
  readonly key: string;
  readonly value?: string;
  readonly mod_revision: number;
}

/** @param nodes the nodes whose `status/<node>` is waited for */
export function meshRegistry(
  ctl: (...args: readonly string[]) => Promise<string>,
  nodes: readonly string[],
): MeshRegistry {
  const revisionOf = (text: string): number =>
    (JSON.parse(text) as { header: { revision: number } }).header.revision;
  const list = async (prefix: string): Promise<Entry[]> => {
    const text = await ctl('get', '--prefix', `${ETCD_PREFIX}/${prefix}`, '-w', 'json');
    const { kvs = [] } = JSON.parse(text) as { kvs?: Listed[] };
    return kvs.map(({ key, value = '', mod_revision: revision }) => ({
      key: Buffer.from(key, 'base64')
        .toString()
        .slice(ETCD_PREFIX.length + 1),
      value: Buffer.from(value, 'base64').toString(),
      revision,
    }));
  };

  const registry: MeshRegistry = {
    async put(key, value) {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      return revisionOf(await ctl('put', `${ETCD_PREFIX}/${key}`, text, '-w', 'json'));
    },
    async delete(key) {
      return revisionOf(await ctl('del', `${ETCD_PREFIX}/${key}`, '-w', 'json'));
    },
    async get(key) {
      return (await list(key)).find((found) => found.key === key)?.value;
    },
    async statuses() {
      const found = new Map((await list('status/')).map(({ key, value }) => [key, value]));
      return nodes.map((node) => {
        const text = found.get(`status/${node}`);
        if (text === undefined) throw new Error(`there is no status/${node}`);
        return JSON.parse(text) as StatusDocument;
      });
    },
    async instances(service) {
      const found = await list('nodes/');
      return found
        .filter(({ key }) => key.includes(`/instances/${service}/`))
        .map(({ key, value }) => ({
          node: key.split('/')[1]!,
          ...(JSON.parse(value) as Omit<Registered, 'node'>),
        }));
    },
    async inForce(revision) {
      await eventually(async () => {
        for (const { node, applied } of await registry.statuses()) {
          if (applied < revision) throw new Error(`${node} is at ${applied}, wanted ${revision}`);
        }
      }, 10_000);
    },
    async settled() {
      const entries = [...(await list('config/')), ...(await list('nodes/'))];
      await registry.inForce(Math.max(...entries.map(({ revision }) => revision)));
    },
  };
  return registry;
}
