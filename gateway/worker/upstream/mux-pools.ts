import tls from 'node:tls';
import type { Rng } from '#kit/rng.ts';
import type { ResponseSink, Upstream } from '../request/ports.ts';
import type { Sending } from '../request/attempt.ts';
import type { Identities } from '../identities.ts';
import { parseAddress } from '#kit/address.ts';
import { checkSvid, formatIdentity, serverName } from '../../../ca/identity.ts';
import { FAILURES } from '../request/failures.ts';
import { MuxClient } from '../mux/client.ts';
import { PROTOCOL } from '../mux/frames.ts';

const CONNECT_TIMEOUT_MS = 2_000;
/** No connection gets older, whatever its certificate says: peers and balances change. */
const MAX_AGE_MS = 3_600_000;
/** A connection leaves this long before its certificate ends, so that its streams end in time. */
const LEAVE_BEFORE_END = 0.1;

/** What the pools report; a denied or mistaken peer must show in the log, not only as 502. */
export interface MuxEvents {
  peerRefused(peer: string, service: string, why: string): void;
}

export interface MuxConnectionState {
  readonly source: string;
  readonly destination: string;
  readonly peer: string;
  readonly openedAtMs: number;
  readonly notAfterMs: number;
  readonly streams: number;
}

/** All connections of this worker to other gateways: one per (source identity, service, gateway). */
export class MuxPools {
  readonly #pools = new Map<string, MuxPool>();
  readonly #rng: Rng;
  readonly #events: MuxEvents;
  identities: Identities | undefined;

  constructor(rng: Rng, events: MuxEvents) {
    this.#rng = rng;
    this.#events = events;
  }

  get(sourceIdentity: string, service: string, address: string): MuxPool {
    const key = `${sourceIdentity} ${service} ${address}`;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = new MuxPool(this, sourceIdentity, service, address, this.#rng, this.#events);
      this.#pools.set(key, pool);
    }
    return pool;
  }

  /** New certificates or roots: new connections use them, the old ones leave when their streams are through. */
  setIdentities(identities: Identities): void {
    const before = this.identities;
    this.identities = identities;
    for (const pool of this.#pools.values()) pool.identitiesChanged(before);
  }

  sweep(nowMs: number, wallMs: number): void {
    for (const [key, pool] of this.#pools) {
      pool.sweep(nowMs, wallMs);
      if (!pool.isUnused(nowMs)) continue;
      pool.isForgotten = true;
      this.#pools.delete(key);
    }
  }

  leave(): void {
    for (const pool of this.#pools.values()) pool.leave();
  }

  state(): MuxConnectionState[] {
    return [...this.#pools.values()].flatMap((pool) => pool.state());
  }
}

interface Open {
  readonly client: MuxClient;
  readonly serial: string;
  /** Monotonic ms: the end of its hour, ± 10 %, so that a fleet does not reconnect at once. */
  readonly leaveAtMs: number;
  /** Unix ms. */
  readonly openedAtWallMs: number;
  /** Unix ms: earlier end of our certificate and the peer's. */
  notAfterMs: number;
  isLeaving: boolean;
}

/** An unused pool is forgotten after this. */
const FORGET_AFTER_MS = 600_000;

export class MuxPool {
  /** Not swept any more: whoever kept a reference asks for a new one. */
  isForgotten = false;
  readonly #pools: MuxPools;
  readonly #source: string;
  readonly #service: string;
  readonly #address: string;
  readonly #rng: Rng;
  readonly #events: MuxEvents;
  readonly #open = new Set<Open>();
  #current: MuxClient | undefined;
  /** Mostly there is one behind a gateway. */
  #instance = '';
  #instanceLine = '';
  #usedAtMs = performance.now();

  constructor(
    pools: MuxPools,
    source: string,
    service: string,
    address: string,
    rng: Rng,
    events: MuxEvents,
  ) {
    this.#pools = pools;
    this.#source = source;
    this.#service = service;
    this.#address = address;
    this.#rng = rng;
    this.#events = events;
  }

  /** Opens a stream for one request on a connection with room, or on a new one. */
  open(sink: ResponseSink, instance: string, sending: Sending): Upstream {
    let client = this.#current;
    if (client === undefined || !client.hasRoom) {
      client = this.#withRoom() ?? this.#dial();
      this.#current = client;
    }
    if (client !== undefined) return client.open(sink, this.#lineFor(instance), sending);
    // No certificate for this source yet: fails like a peer that cannot be reached, but after this call.
    const unavailable = new Unavailable(sink);
    return unavailable;
  }

  #lineFor(instance: string): string {
    if (instance !== this.#instance) {
      this.#instance = instance;
      this.#instanceLine = `x-gatemesh-instance: ${instance}\r\n`;
    }
    return this.#instanceLine;
  }

  identitiesChanged(before: Identities | undefined): void {
    const serial = this.#pools.identities?.get(this.#source)?.svid.serial;
    const rootsChanged = before?.roots !== this.#pools.identities?.roots;
    for (const open of this.#open) {
      if (rootsChanged || open.serial !== serial) this.#retire(open);
    }
  }

  sweep(nowMs: number, wallMs: number): void {
    for (const open of this.#open) {
      const life = open.notAfterMs - open.openedAtWallMs;
      if (wallMs >= open.notAfterMs) open.client.destroy();
      else if (wallMs > open.notAfterMs - life * LEAVE_BEFORE_END) this.#retire(open);
      else if (nowMs > open.leaveAtMs) this.#retire(open);
      if (open.client.checkAlive(nowMs) === 'dead') open.client.destroy();
    }
    if (this.#open.size > 0) this.#usedAtMs = nowMs;
  }

  isUnused(nowMs: number): boolean {
    return this.#open.size === 0 && nowMs - this.#usedAtMs > FORGET_AFTER_MS;
  }

  leave(): void {
    for (const open of this.#open) this.#retire(open);
  }

  state(): MuxConnectionState[] {
    return [...this.#open].map((open) => ({
      source: this.#source,
      destination: this.#service,
      peer: this.#address,
      openedAtMs: open.openedAtWallMs,
      notAfterMs: open.notAfterMs,
      streams: open.client.openStreams,
    }));
  }

  #withRoom(): MuxClient | undefined {
    for (const open of this.#open) {
      if (!open.isLeaving && open.client.hasRoom) return open.client;
    }
    return undefined;
  }

  #retire(open: Open): void {
    if (open.isLeaving) return;
    open.isLeaving = true;
    if (this.#current === open.client) this.#current = undefined;
    open.client.leave();
  }

  #dial(): MuxClient | undefined {
    const { identities } = this.#pools;
    const own = identities?.get(this.#source);
    const address = parseAddress(this.#address);
    if (identities === undefined || own === undefined || address === undefined) {
      const what =
        address === undefined
          ? `"${this.#address}" is no address`
          : `no certificate for ${this.#source} yet`;
      this.#events.peerRefused(this.#address, this.#service, what);
      return undefined;
    }
    const socket = tls.connect({
      host: address.host,
      port: address.port,
      servername: serverName(this.#service, identities.trustDomain),
      secureContext: own.context,
      ALPNProtocols: [PROTOCOL],
      // The name in the certificate is its SPIFFE id: checked below on the DER, before anything is sent.
      checkServerIdentity: () => undefined,
    });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 30_000);
    const open: Open = {
      client: new MuxClient(socket, () => {
        if (this.#current === open.client) this.#current = undefined;
        if (open.client.isClosed) this.#open.delete(open);
        else open.isLeaving = true;
      }),
      serial: own.svid.serial,
      leaveAtMs: performance.now() + MAX_AGE_MS * (0.9 + 0.2 * this.#rng()),
      openedAtWallMs: Date.now(),
      notAfterMs: own.svid.notAfterMs,
      isLeaving: false,
    };
    this.#open.add(open);
    // Until SETTINGS: a peer that shakes hands and then says nothing is not reached either.
    const timer = setTimeout(() => {
      if (open.client.isConnecting) socket.destroy(new Error('no connection in time'));
    }, CONNECT_TIMEOUT_MS);
    socket.once('close', () => clearTimeout(timer));
    socket.once('error', (error) => {
      if (open.client.isConnecting)
        this.#events.peerRefused(this.#address, this.#service, error.message);
    });
    socket.once('secureConnect', () => {
      const why = this.#peerProblem(socket, identities.trustDomain, open);
      if (why === undefined) return;
      this.#events.peerRefused(this.#address, this.#service, why);
      socket.destroy();
    });
    return open.client;
  }

  /** Is this the service we asked for? Chain and dates were checked by TLS. */
  #peerProblem(socket: tls.TLSSocket, trustDomain: string, open: Open): string | undefined {
    if (socket.alpnProtocol !== PROTOCOL) return `the peer does not speak ${PROTOCOL}`;
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return 'the peer shows no certificate';
    const checked = checkSvid(certificate.raw, trustDomain);
    if (!checked.ok) return checked.why;
    const found = formatIdentity(checked.identity);
    const wanted = formatIdentity({ trustDomain, kind: 'svc', name: this.#service });
    if (found !== wanted) return `the peer is ${found}, wanted ${wanted}`;
    open.notAfterMs = Math.min(open.notAfterMs, checked.notAfterMs);
    return undefined;
  }
}

/** An upstream that cannot be had; says so in the next microtask, when the exchange knows of its attempt. */
class Unavailable implements Upstream {
  #isCancelled = false;

  constructor(sink: ResponseSink) {
    queueMicrotask(() => {
      if (!this.#isCancelled) sink.upstreamFailed(FAILURES.connect);
    });
  }

  sendBody(): boolean {
    return true;
  }

  sendEnd(): void {
    // Nothing was started.
  }

  readBody(): void {
    // Nothing to read.
  }

  cancel(): void {
    this.#isCancelled = true;
  }
}
