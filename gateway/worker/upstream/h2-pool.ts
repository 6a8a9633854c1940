import type { Address } from '#kit/address.ts';
import type { DataPlane, LocalPool } from '../data-plane.ts';
import type { Sending } from '../request/attempt.ts';
import type { ResponseSink, Upstream } from '../request/ports.ts';
import { H2Session } from './h2-session.ts';

/** As for HTTP/1.1: below what servers allow, so that we close first. */
const IDLE_MS = 55_000;

/** Streams on a connection whose instance has not said how many it takes. */
const ASSUMED_STREAMS = 100;

/** The HTTP/2 connections to one local instance: one, and another only when it takes no more streams. */
export class H2InstancePool implements LocalPool {
  readonly #plane: DataPlane;
  readonly #address: Address;
  readonly #sessions = new Set<H2Session>();

  constructor(plane: DataPlane, address: Address) {
    this.#plane = plane;
    this.#address = address;
    plane.instancePools.add(this);
  }

  open(sink: ResponseSink, head: string, sending: Sending): Upstream {
    return (this.#withRoom() ?? this.#dial(sending.connectTimeoutMs)).open(sink, head, sending);
  }

  sweep(nowMs: number): void {
    for (const session of this.#sessions) {
      if (session.checkAlive(nowMs) === 'dead') session.destroy();
      else if (session.idleMs(nowMs) > IDLE_MS) session.leave();
    }
  }

  close(): void {
    this.#plane.instancePools.delete(this);
    for (const session of this.#sessions) session.leave();
  }

  #withRoom(): H2Session | undefined {
    for (const session of this.#sessions) if (session.hasRoom) return session;
    return undefined;
  }

  #dial(connectTimeoutMs: number): H2Session {
    const [known] = this.#sessions;
    const streams = known?.mostStreams ?? ASSUMED_STREAMS;
    const forget = (gone: H2Session): void => void this.#sessions.delete(gone);
    const session = new H2Session(this.#plane, this.#address, connectTimeoutMs, streams, forget);
    this.#sessions.add(session);
    return session;
  }
}
