import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { formatAddress, type Address } from '#kit/address.ts';
import { messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type {
  CertificateDocument,
  GatewayDocument,
  GatewayListener,
} from '../../registry/documents/types.ts';
import type { EdgeCertificate, ListenerSpec } from '../ipc.ts';
import type { ListenSocket } from './listen-sockets.ts';

/** The part of Workers that listeners need. */
export interface ListenerHost {
  listen(spec: ListenerSpec, socket: ListenSocket): void;
  unlisten(id: string): void;
}

export interface EdgeListenersOptions {
  readonly host: ListenerHost;
  readonly bind: (address: Address, setting: string) => Promise<ListenSocket>;
  readonly log: Log;
}

export interface EdgeListenerState {
  readonly id: string;
  readonly address: Address;
  /** Why it is not, or not as its document now says. */
  readonly error: string | undefined;
}

interface Open {
  readonly socket: ListenSocket;
  readonly spec: ListenerSpec;
}

/**
 * The listeners of `config/gateways/<gateway>`, appearing, changing and going with that document. One that cannot
 * be brought about (port in use, unreadable key) is reported and leaves the others, and its own former self, alone.
 */
export class EdgeListeners {
  readonly #options: EdgeListenersOptions;
  readonly #open = new Map<string, Open>();
  #states: readonly EdgeListenerState[] = [];
  #queue: Promise<void> = Promise.resolve();

  constructor(options: EdgeListenersOptions) {
    this.#options = options;
  }

  get states(): readonly EdgeListenerState[] {
    return this.#states;
  }

  /**
   * Makes the listeners what the documents say; also after a certificate's files changed. Calls are served in order.
   *
   * @param gateway undefined: none
   */
  update(
    gateway: GatewayDocument | undefined,
    certificate: (name: string) => CertificateDocument | undefined,
  ): Promise<void> {
    this.#queue = this.#queue.then(() => this.#apply(gateway, certificate));
    return this.#queue;
  }

  close(): void {
    for (const { socket } of this.#open.values()) socket.close();
    this.#open.clear();
  }

  async #apply(
    gateway: GatewayDocument | undefined,
    certificate: (name: string) => CertificateDocument | undefined,
  ): Promise<void> {
    const wanted = new Map(
      (gateway?.listeners ?? []).map((listener) => [listenerId(listener), listener]),
    );
    for (const [id, { socket }] of this.#open) {
      if (wanted.has(id)) continue;
      this.#options.host.unlisten(id);
      socket.close();
      this.#open.delete(id);
      this.#options.log.info({ listener: id }, 'edge listener closed');
    }
    const states: EdgeListenerState[] = [];
    for (const [id, listener] of wanted) {
      const error = await this.#bringAbout(id, listener, gateway!, certificate);
      const address = this.#open.get(id)?.socket.address ?? addressOf(listener);
      states.push({ id, address, error });
    }
    this.#states = states;
  }

  async #bringAbout(
    id: string,
    listener: GatewayListener,
    gateway: GatewayDocument,
    certificate: (name: string) => CertificateDocument | undefined,
  ): Promise<string | undefined> {
    const { host, bind, log } = this.#options;
    try {
      const spec = await specOf(id, listener, gateway, certificate);
      const open = this.#open.get(id);
      if (isDeepStrictEqual(open?.spec, spec)) return undefined;
      const socket =
        open?.socket ?? (await bind(addressOf(listener), `config/gateways/${gateway.name}`));
      this.#open.set(id, { socket, spec });
      host.listen(spec, socket);
      log.info({ listener: id, changed: open !== undefined }, 'edge listener open');
      return undefined;
    } catch (error) {
      const message = messageOf(error);
      const known = this.#states.find((state) => state.id === id)?.error;
      if (known !== message) log.error({ listener: id, error: message }, 'edge listener failed');
      return message;
    }
  }
}

async function specOf(
  id: string,
  { protocol, port, tlsMin, certificates }: GatewayListener,
  { name: gateway, trustedProxies }: GatewayDocument,
  certificate: (name: string) => CertificateDocument | undefined,
): Promise<ListenerSpec> {
  if (protocol === 'tcp' || protocol === 'tls-passthrough') {
    return { id, kind: 'edge-tcp', gateway, port, isTls: protocol === 'tls-passthrough' };
  }
  return {
    id,
    kind: 'edge',
    gateway,
    protocol,
    tlsMin,
    certificates: await Promise.all(
      certificates.map((name) => readCertificate(name, certificate(name))),
    ),
    trustedProxies,
  };
}

function addressOf({ address, port }: GatewayListener): Address {
  return { host: address, port };
}

function listenerId(listener: GatewayListener): string {
  return `edge ${formatAddress(addressOf(listener))}`;
}

async function readCertificate(
  name: string,
  document: CertificateDocument | undefined,
): Promise<EdgeCertificate> {
  if (document === undefined) throw new Error(`config/certificates/${name} does not exist`);
  const { hosts, certFile, keyFile } = document;
  const [certPem, keyPem] = await Promise.all([
    readPem(certFile, name, 'certFile'),
    readPem(keyFile, name, 'keyFile'),
  ]);
  try {
    createSecureContext({ cert: certPem, key: keyPem });
  } catch (error) {
    throw new Error(
      `config/certificates/${name}: ${certFile} and ${keyFile} are not a certificate with its key: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return { hosts, certPem, keyPem };
}

async function readPem(file: string, name: string, field: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new Error(
      `config/certificates/${name}: ${field} cannot be read: ${messageOf(error)}; give this user the right to read it`,
      { cause: error },
    );
  }
}
