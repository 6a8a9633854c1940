import net, { BlockList, isIPv6, type Socket } from 'node:net';
import tls from 'node:tls';
import type { ListenerSpec } from '../../ipc.ts';
import type { DataPlane } from '../data-plane.ts';
import type { HeaderRules } from '../codec/header-rules.ts';
import { formatIdentity } from '../../../ca/identity.ts';
import { EDGE_RULES, EGRESS_RULES, TRUSTED_EDGE_RULES } from '../codec/header-rules.ts';
import { arrivalOf, egressIdentity, type Arrival } from '../request/identify.ts';
import { readFrom } from '../sockets.ts';
import { SocketOwners } from './callers.ts';
import { H1Server } from './h1-server.ts';
import { H2Server } from './h2-server.ts';
import { TcpServer } from './tcp-server.ts';

/** A listener as the worker keeps it: accepting, and then letting go of its clients. */
export interface Listener {
  readonly id: string;
  readonly open: number;
  sweep(nowMs: number, wallMs: number): void;
  /** Stops accepting; clients end after the answer under way. */
  drain(): void;
}

/** One client of a listener. */
interface Client {
  checkIdle(nowMs: number): void;
  drain(): void;
}

type PlainSpec = Extract<ListenerSpec, { readonly kind: 'edge' | 'egress' }>;

/**
 * Clients from outside (edge) or on this VM (egress). HTTP/1.1; HTTP/2 by ALPN over TLS, and with prior
 * knowledge without it; TCP where an egress listener leads to a service that is reached by that.
 */
export class PlainListener implements Listener {
  readonly id: string;
  readonly #plane: DataPlane;
  readonly #server: net.Server;
  readonly #arrival: Arrival;
  readonly #rulesFor: (address: string) => HeaderRules;
  readonly #clients = new Set<Client>();
  /** What the service was when it last had an instance: between two of them its clients stay what they are. */
  #isTcp = false;
  /** Only where the listener itself does not say who calls. */
  readonly #owners: SocketOwners | undefined;

  /**
   * @param handle the bound socket, from the supervisor
   * @param onListening called once it accepts
   */
  constructor(
    plane: DataPlane,
    spec: PlainSpec,
    handle: unknown,
    onListening: () => void,
    onError: (error: Error) => void,
  ) {
    this.id = spec.id;
    this.#plane = plane;
    this.#arrival = arrivalFor(plane, spec);
    this.#rulesFor = spec.kind === 'egress' ? () => EGRESS_RULES : edgeRules(spec.trustedProxies);
    const accept = (socket: Socket): void => this.#accept(socket);
    if (spec.kind === 'egress' && spec.as === undefined) this.#owners = new SocketOwners();
    this.#server =
      spec.kind === 'edge' && spec.protocol === 'https'
        ? edgeTls(spec, accept)
        : net.createServer({ allowHalfOpen: true, noDelay: true }, accept);
    this.#server.on('error', onError);
    this.#server.listen(handle, onListening);
  }

  get open(): number {
    return this.#clients.size;
  }

  sweep(nowMs: number): void {
    for (const client of this.#clients) client.checkIdle(nowMs);
  }

  drain(): void {
    this.#server.close();
    for (const client of this.#clients) client.drain();
  }

  #accept(socket: Socket): void {
    if (this.#owners === undefined || this.#plane.serviceByUid.size === 0) {
      this.#serve(socket, this.#arrival);
      return;
    }
    // Not read before it is known who calls; the bytes wait in the kernel.
    socket.on('error', () => socket.destroy());
    this.#owners.find(socket, (uid) => {
      if (socket.destroyed) return;
      const service = uid === undefined ? undefined : this.#plane.serviceByUid.get(uid);
      this.#serve(socket, service === undefined ? this.#arrival : this.#arrivalAs(service));
    });
  }

  #arrivalAs(service: string): Arrival {
    const { trustDomain } = this.#plane.settings;
    const identity = formatIdentity({ trustDomain, kind: 'svc', name: service });
    return arrivalOf('egress', '', identity, this.#arrival.service, 'http');
  }

  #serve(socket: Socket, arrival: Arrival): void {
    if (this.#leadsToTcp()) {
      const client = new TcpServer(socket, this.#plane, arrival, false, () => {
        this.#clients.delete(client);
      });
      this.#clients.add(client);
      client.start();
      return;
    }
    const rules = this.#rulesFor(socket.remoteAddress ?? '');
    if (socket instanceof tls.TLSSocket) {
      if (socket.alpnProtocol === 'h2') this.#serveHttp2(socket, arrival, rules);
      else this.#serveHttp1(socket, arrival, rules, undefined);
      return;
    }
    this.#serveHttp1(socket, arrival, rules, (first) => {
      socket.unshift(first);
      this.#serveHttp2(socket, arrival, rules);
    });
  }

  #serveHttp1(
    socket: Socket,
    arrival: Arrival,
    rules: HeaderRules,
    onHttp2: ((first: Buffer) => void) | undefined,
  ): void {
    const forget = (gone: H1Server): void => void this.#clients.delete(gone);
    const client = new H1Server(socket, this.#plane, arrival, rules, forget, onHttp2);
    this.#clients.add(client);
    readFrom(socket, client);
  }

  #serveHttp2(socket: Socket, arrival: Arrival, rules: HeaderRules): void {
    const forget = (gone: H2Server): void => void this.#clients.delete(gone);
    this.#clients.add(new H2Server(socket, this.#plane, arrival, rules, forget));
  }

  #leadsToTcp(): boolean {
    const { service } = this.#arrival;
    if (service !== undefined) {
      this.#isTcp = this.#plane.tables.service(service)?.isTcp ?? this.#isTcp;
    }
    return this.#isTcp;
  }
}

function arrivalFor(plane: DataPlane, spec: PlainSpec): Arrival {
  const { trustDomain, nodeIdentity } = plane.settings;
  if (spec.kind === 'egress') {
    const identity = egressIdentity(spec.as, trustDomain, nodeIdentity);
    return arrivalOf('egress', '', identity, spec.to, 'http');
  }
  const identity = formatIdentity({ trustDomain, kind: 'edge', name: spec.gateway });
  return arrivalOf('edge', spec.gateway, identity, undefined, spec.protocol);
}

/** Who may say where a request came from: proxies of the operator, by address; nobody else. */
function edgeRules(trustedProxies: readonly string[]): (address: string) => HeaderRules {
  if (trustedProxies.length === 0) return () => EDGE_RULES;
  const trusted = new BlockList();
  for (const cidr of trustedProxies) {
    const [address = '', bits] = cidr.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    trusted.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family);
  }
  return (address) => {
    const plain = address.startsWith('::ffff:') ? address.slice(7) : address;
    const family = isIPv6(plain) ? 'ipv6' : 'ipv4';
    return trusted.check(plain, family) ? TRUSTED_EDGE_RULES : EDGE_RULES;
  };
}

/** HTTPS with certificates by SNI: exact names before wildcards, the first certificate for everybody else. */
function edgeTls(
  spec: Extract<PlainSpec, { readonly kind: 'edge' }>,
  accept: (socket: Socket) => void,
): tls.Server {
  const exact = new Map<string, tls.SecureContext>();
  const wildcard = new Map<string, tls.SecureContext>();
  const minVersion = spec.tlsMin === '1.3' ? 'TLSv1.3' : 'TLSv1.2';
  for (const { hosts, certPem, keyPem } of spec.certificates) {
    const context = tls.createSecureContext({ cert: certPem, key: keyPem, minVersion });
    for (const host of hosts) {
      if (host.startsWith('*.')) wildcard.set(host.slice(2), context);
      else exact.set(host, context);
    }
  }
  const [first] = spec.certificates;
  const server = tls.createServer(
    {
      cert: first?.certPem,
      key: first?.keyPem,
      minVersion,
      ALPNProtocols: ['h2', 'http/1.1'],
      allowHalfOpen: true,
      noDelay: true,
      handshakeTimeout: 10_000,
      SNICallback: (name, done) => {
        const host = name.toLowerCase();
        done(null, exact.get(host) ?? wildcard.get(host.slice(host.indexOf('.') + 1)));
      },
    },
    accept,
  );
  // A failed handshake is the client's affair; without listeners it would end the process.
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}
