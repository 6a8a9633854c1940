import net from 'node:net';
import type { ListenerSpec } from '../../ipc.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Listener } from './plain.ts';
import { formatIdentity } from '../../../ca/identity.ts';
import { arrivalOf } from '../request/identify.ts';
import { TcpServer } from './tcp-server.ts';

/** Connections from outside that are passed on as they are: by port, or by the server name in their TLS. */
export class TcpListener implements Listener {
  readonly id: string;
  readonly #server: net.Server;
  readonly #clients = new Set<TcpServer>();

  /**
   * @param handle the bound socket, from the supervisor
   * @param onListening called once it accepts
   */
  constructor(
    plane: DataPlane,
    { id, gateway, port, isTls }: Extract<ListenerSpec, { readonly kind: 'edge-tcp' }>,
    handle: unknown,
    onListening: () => void,
    onError: (error: Error) => void,
  ) {
    this.id = id;
    const { trustDomain } = plane.settings;
    const identity = formatIdentity({ trustDomain, kind: 'edge', name: gateway });
    const scheme = isTls ? 'https' : 'http';
    const arrival = { ...arrivalOf('edge', gateway, identity, undefined, scheme), port };
    this.#server = net.createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true },
      (socket) => {
        const client = new TcpServer(socket, plane, arrival, isTls, () => {
          this.#clients.delete(client);
        });
        this.#clients.add(client);
        client.start();
      },
    );
    this.#server.on('error', onError);
    this.#server.listen(handle, onListening);
  }

  get open(): number {
    return this.#clients.size;
  }

  sweep(nowMs: number): void {
    for (const client of this.#clients) client.checkIdle(nowMs);
  }

  /** Open connections stay: there is no answer after which they could be asked to leave. */
  drain(): void {
    this.#server.close();
    for (const client of this.#clients) client.drain();
  }
}
