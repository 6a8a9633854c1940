import { MeshError } from '#kit/errors.ts';
import type { Txn } from './store.ts';

/** etcd's default `--max-txn-ops`. */
const MAX_OPERATIONS = 128;

/**
 * What etcd would refuse, refused alike by every store.
 *
 * @throws MeshError `store_refused`
 */
export function checkTxn({ success, failure = [] }: Txn): void {
  for (const ops of [success, failure]) {
    if (ops.length > MAX_OPERATIONS) {
      throw new MeshError(
        'store_refused',
        `a transaction has ${ops.length} operations; at most ${MAX_OPERATIONS} fit into one: split it`,
      );
    }
    const written = new Set<string>();
    for (const { type, key } of ops) {
      if (type === 'get') continue;
      if (written.has(key)) {
        throw new MeshError('store_refused', `a transaction writes the key ${key} twice`);
      }
      written.add(key);
    }
  }
}
