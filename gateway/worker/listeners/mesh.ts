import net from 'node:net';
import tls from 'node:tls';
import type { DataPlane } from '../data-plane.ts';
import type { Identities, OwnCertificate } from '../identities.ts';
import type { Listener } from './plain.ts';
import { parseAddress } from '#kit/address.ts';
import { checkSvid, formatIdentity, type Identity } from '../../../ca/identity.ts';
import { EDGE_RULES } from '../codec/header-rules.ts';
import { TLS_1_3 } from '../identities.ts';
import { PROTOCOL } from '../mux/frames.ts';
import { MuxServer } from '../mux/server.ts';
import { arrivalOf } from '../request/identify.ts';
import { readFrom } from '../sockets.ts';
import { H1Server } from './h1-server.ts';
import { H2Server } from './h2-server.ts';

const MAX_AGE_MS = 3_600_000;
/** A connection leaves this long before a certificate on it ends, so that its streams end in time. */
const LEAVE_BEFORE_END = 0.05;
/** After a renewal here, callers are asked to come back over this long, not all at once. */
const LEAVE_SPREAD_MS = 5_000;

/** Why a peer on the mesh port was turned away, for the log. */
export type PeerRefused = (address: string, why: string) => void;

interface Peer {
  readonly socket: tls.TLSSocket;
  readonly client: MuxServer | H1Server | H2Server | undefined;
  readonly identity: string;
  readonly service: string;
  readonly openedAtMs: number;
  /** Unix ms. */
  readonly notAfterMs: number;
  readonly ownSerial: string;
  /** Monotonic ms. */
  leaveAtMs: number;
  isLeaving: boolean;
}

export interface MeshPeerState {
  readonly source: string;
  readonly destination: string;
  readonly peer: string;
  readonly openedAtMs: number;
  readonly notAfterMs: number;
  readonly streams: number;
}

/**
 * The mesh port: mTLS 1.3 with the certificate of the service asked for by SNI
 * (`<service>.svc.<trustDomain>`). ALPN `gatemesh/1` from other gateways, `h2` and `http/1.1`
 * from SPIFFE clients without one. `<node>.node.<trustDomain>` leads other nodes to the admin API, read-only.
 */
export class MeshListener implements Listener {
  readonly id: string;
  readonly #plane: DataPlane;
  readonly #server: tls.Server;
  readonly #onRefused: PeerRefused;
  readonly #peers = new Set<Peer>();
  #identities: Identities;

  constructor(
    plane: DataPlane,
    id: string,
    identities: Identities,
    handle: unknown,
    onListening: () => void,
    onError: (error: Error) => void,
    onRefused: PeerRefused,
  ) {
    this.id = id;
    this.#plane = plane;
    this.#identities = identities;
    this.#onRefused = onRefused;
    this.#server = tls.createServer(
      {
        ...TLS_1_3,
        requestCert: true,
        rejectUnauthorized: true,
        // The admin API behind a node's name speaks HTTP/1.1 only.
        ALPNCallback: ({ servername, protocols }) => {
          const isNode = this.#nameAsked(servername).startsWith('node/');
          const spoken = isNode ? ['http/1.1'] : [PROTOCOL, 'h2', 'http/1.1'];
          return spoken.find((protocol) => protocols.includes(protocol));
        },
        handshakeTimeout: 10_000,
        SNICallback: (name, done) => {
          const own = this.#certificateFor(name);
          // Without a name we know there is no certificate to show, and no service to reach.
          if (own === undefined) done(new Error(`no service "${name}" here`));
          else done(null, own.context);
        },
      },
      (socket) => this.#accept(socket),
    );
    this.#server.on('tlsClientError', (error, socket) => {
      this.#onRefused(socket.remoteAddress ?? 'unknown', error.message);
      socket.destroy();
    });
    this.#server.on('error', onError);
    this.#server.listen(handle, onListening);
  }

  get open(): number {
    return this.#peers.size;
  }

  setIdentities(identities: Identities): void {
    const rootsChanged = identities.roots !== this.#identities.roots;
    this.#identities = identities;
    const now = this.#plane.now();
    for (const peer of this.#peers) {
      const own = identities.get(this.#ownId(peer.service))?.svid.serial;
      if (!rootsChanged && own === peer.ownSerial) continue;
      const wait = rootsChanged ? 0 : LEAVE_SPREAD_MS * this.#plane.rng();
      peer.leaveAtMs = Math.min(peer.leaveAtMs, now + wait);
    }
  }

  sweep(nowMs: number, wallMs: number): void {
    for (const peer of this.#peers) {
      if (wallMs >= peer.notAfterMs) {
        peer.socket.destroy();
        continue;
      }
      if (nowMs >= peer.leaveAtMs) this.#leave(peer);
      if (peer.client instanceof MuxServer) {
        if (peer.client.checkAlive(nowMs) === 'dead') peer.socket.destroy();
      } else peer.client?.checkIdle(nowMs);
    }
  }

  drain(): void {
    this.#server.close();
    for (const peer of this.#peers) this.#leave(peer);
  }

  state(): MeshPeerState[] {
    return [...this.#peers].map((peer) => ({
      source: peer.identity,
      destination: peer.service,
      peer: peer.socket.remoteAddress ?? 'unknown',
      openedAtMs: peer.openedAtMs,
      notAfterMs: peer.notAfterMs,
      streams: peer.client instanceof H1Server ? 1 : (peer.client?.openStreams ?? 1),
    }));
  }

  #leave(peer: Peer): void {
    if (peer.isLeaving) return;
    peer.isLeaving = true;
    if (peer.client instanceof MuxServer) peer.client.leave();
    else peer.client?.drain();
  }

  #certificateFor(name: string): OwnCertificate | undefined {
    const identity = this.#ownId(this.#nameAsked(name));
    return this.#identities.get(identity);
  }

  /** `orders` of `orders.svc.mesh.internal`; `node/vm-a` of `vm-a.node.mesh.internal`. */
  #nameAsked(name: string): string {
    const lower = name.toLowerCase();
    const service = `.svc.${this.#identities.trustDomain}`;
    if (lower.endsWith(service)) return lower.slice(0, -service.length);
    const node = `.node.${this.#identities.trustDomain}`;
    return lower.endsWith(node) ? `node/${lower.slice(0, -node.length)}` : '';
  }

  #ownId(asked: string): string {
    const { trustDomain } = this.#identities;
    return asked.startsWith('node/')
      ? formatIdentity({ trustDomain, kind: 'node', name: asked.slice(5) })
      : formatIdentity({ trustDomain, kind: 'svc', name: asked });
  }

  /** The handshake is done: chain and dates are good; is it an SVID of our trust domain? */
  #accept(socket: tls.TLSSocket): void {
    const from = socket.remoteAddress ?? 'unknown';
    socket.on('error', () => socket.destroy());
    const certificate = socket.getPeerX509Certificate();
    const checked =
      certificate === undefined
        ? ({ ok: false, why: 'no client certificate' } as const)
        : checkSvid(certificate.raw, this.#identities.trustDomain);
    if (!checked.ok || socket.isSessionReused()) {
      this.#onRefused(from, checked.ok ? 'a resumed TLS session' : checked.why);
      socket.destroy();
      return;
    }
    const asked = this.#nameAsked(typeof socket.servername === 'string' ? socket.servername : '');
    const own = this.#identities.get(this.#ownId(asked));
    if (own === undefined) {
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 30_000);
    this.#take(socket, checked.identity, checked.notAfterMs, asked, own);
  }

  #take(
    socket: tls.TLSSocket,
    caller: Identity,
    callerNotAfterMs: number,
    asked: string,
    own: OwnCertificate,
  ): void {
    const now = this.#plane.now();
    const wall = Date.now();
    const notAfterMs = Math.min(callerNotAfterMs, own.svid.notAfterMs);
    const age = MAX_AGE_MS * (0.9 + 0.2 * this.#plane.rng());
    const peer: Peer = {
      socket,
      client: asked.startsWith('node/') ? undefined : this.#serve(socket, caller, asked),
      identity: formatIdentity(caller),
      service: asked,
      openedAtMs: wall,
      notAfterMs,
      ownSerial: own.svid.serial,
      leaveAtMs: now + Math.min(age, (notAfterMs - wall) * (1 - LEAVE_BEFORE_END)),
      isLeaving: false,
    };
    this.#peers.add(peer);
    socket.once('close', () => this.#peers.delete(peer));
    if (peer.client === undefined) this.#relayToAdmin(socket, caller);
  }

  #serve(
    socket: tls.TLSSocket,
    caller: Identity,
    service: string,
  ): MuxServer | H1Server | H2Server {
    const arrival = arrivalOf('ingress', '', formatIdentity(caller), service, 'https');
    const forget = (): void => {
      socket.destroy();
    };
    if (socket.alpnProtocol === PROTOCOL)
      return new MuxServer(socket, this.#plane, arrival, forget);
    const direct = { ...arrival, isFirstHop: true };
    if (socket.alpnProtocol === 'h2')
      return new H2Server(socket, this.#plane, direct, EDGE_RULES, forget);
    const client = new H1Server(socket, this.#plane, direct, EDGE_RULES, forget);
    readFrom(socket, client);
    return client;
  }

  /** Only for nodes, and only as bytes: the admin API itself allows nothing but reading over TCP. */
  #relayToAdmin(socket: tls.TLSSocket, caller: Identity): void {
    const admin = this.#plane.settings.adminAddress;
    const address = admin === undefined ? undefined : parseAddress(admin);
    if (caller.kind !== 'node' || address === undefined) {
      this.#onRefused(socket.remoteAddress ?? 'unknown', `${formatIdentity(caller)} is no node`);
      socket.destroy();
      return;
    }
    const upstream = net.connect(address);
    upstream.on('error', () => socket.destroy());
    socket.once('close', () => upstream.destroy());
    socket.pipe(upstream).pipe(socket);
  }
}
