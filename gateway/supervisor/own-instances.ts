import { formatAddress, type Address } from '#kit/address.ts';
import { instanceKey } from '../../registry/documents/keys.ts';
import type { TypedDocument } from '../../registry/documents/types.ts';
import type { RegistryChange } from '../../registry/view-types.ts';
import type { LocalInstance } from './registration.ts';

/**
 * What this machine's own file says of its instances, against what stands in the registry under this node's keys.
 * Connections to a local instance go out in the clear and to wherever its document points, so that is never taken from
 * the registry: whoever can write there could aim this gateway at itself (a loop), or at a port of this machine that
 * trusts whoever is local.
 */
export interface OwnInstances {
  readonly node: string;
  readonly advertise: Address;
  readonly instances: readonly LocalInstance[];
}

/**
 * The change as the workers may have it: instances of this node that its file does not name are gone, the others are
 * where the file says. Pure.
 *
 * @returns also the keys that were put by somebody else
 */
export function withOwnInstances(
  change: RegistryChange,
  { node, advertise, instances }: OwnInstances,
): { readonly change: RegistryChange; readonly foreign: readonly string[] } {
  const byKey = new Map(instances.map((own) => [instanceKey(node, own.service, own.id), own]));
  const foreign: string[] = [];
  const put: (readonly [string, TypedDocument])[] = [];
  for (const [key, typed] of change.put) {
    if (typed.kind !== 'instances' || typed.document.node !== node) {
      put.push([key, typed]);
      continue;
    }
    const own = byKey.get(key);
    if (own === undefined) {
      foreign.push(key);
      continue;
    }
    const { app, protocol } = own;
    const document = { ...typed.document, app, protocol, address: formatAddress(advertise) };
    put.push([key, { kind: 'instances', document }]);
  }
  // Also when it was ours until now: a service that was taken out of the file.
  return { change: { ...change, put, deleted: [...change.deleted, ...foreign] }, foreign };
}
