import type { Address } from '#kit/address.ts';
import type { GatewayConfig } from '../config.ts';
import type { ListenerSpec } from '../ipc.ts';
import { bindListener, type ListenSocket } from './listen-sockets.ts';

type OwnSpec = Extract<ListenerSpec, { readonly kind: 'egress' | 'mesh' }>;

/** A listener that the gateway's own file names. */
export interface OwnListener {
  readonly spec: OwnSpec;
  readonly socket: ListenSocket;
  /** Where it was written: `mesh.listen in /etc/gatemesh/gateway.yaml`. */
  readonly setting: string;
}

/**
 * Binds the mesh and egress listeners of the file.
 *
 * @throws MeshError `listen_failed`; then none of them is bound
 */
export async function bindOwnListeners(
  config: GatewayConfig,
  file: string,
): Promise<readonly OwnListener[]> {
  const bound: OwnListener[] = [];
  try {
    for (const { spec, address, path } of ownListeners(config)) {
      const setting = `${path} in ${file}`;
      bound.push({ spec, socket: await bindListener(address, setting), setting });
    }
  } catch (error) {
    for (const { socket } of bound) socket.close();
    throw error;
  }
  return bound;
}

function ownListeners({
  mesh,
  egress,
}: GatewayConfig): readonly { spec: OwnSpec; address: Address; path: string }[] {
  return [
    { spec: { id: 'mesh', kind: 'mesh' }, address: mesh.listen, path: 'mesh.listen' },
    {
      spec: { id: 'egress', kind: 'egress', as: undefined, to: undefined },
      address: egress.listen,
      path: 'egress.listen',
    },
    ...egress.listeners.map(({ listen, to, as }, i) => ({
      spec: { id: `egress ${to ?? 'any'} ${i}`, kind: 'egress', as, to } as const,
      address: listen,
      path: `egress.listeners[${i}].listen`,
    })),
  ];
}
