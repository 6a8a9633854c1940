import type { Address } from '#kit/address.ts';
import type { DataPlane, LocalPool } from '../data-plane.ts';
import type { Sending } from '../request/attempt.ts';
import type { ResponseSink, Upstream } from '../request/ports.ts';
import { InstanceConnection } from './instance-connection.ts';

/** Idle connections kept per instance; more are closed when their answer is through. */
const MAX_IDLE = 512;
/** Below the 75 s of nginx and the 60 s of most load balancers, so that we close first. */
const IDLE_MS = 55_000;

/** The HTTP/1.1 connections to one local instance; the last one used is the first one used again. */
export class InstancePool implements LocalPool {
  readonly #plane: DataPlane;
  readonly #address: Address;
  readonly #idle: InstanceConnection[] = [];
  readonly #open = new Set<InstanceConnection>();
  #isClosed = false;

  constructor(plane: DataPlane, address: Address) {
    this.#plane = plane;
    this.#address = address;
    plane.instancePools.add(this);
  }

  open(sink: ResponseSink, head: string, sending: Sending): Upstream {
    const connection = this.#idle.pop() ?? this.#dial(sending.connectTimeoutMs);
    connection.start(sink, head, sending);
    return connection;
  }

  /** Called by a connection whose answer is through and that may serve again. */
  giveBack(connection: InstanceConnection): void {
    if (this.#isClosed || this.#idle.length >= MAX_IDLE) connection.destroy();
    else this.#idle.push(connection);
  }

  /** Called by a connection that closed. */
  forget(connection: InstanceConnection): void {
    this.#open.delete(connection);
    const index = this.#idle.lastIndexOf(connection);
    if (index >= 0) this.#idle.splice(index, 1);
  }

  sweep(nowMs: number): void {
    for (let i = this.#idle.length - 1; i >= 0; i--) {
      const connection = this.#idle[i]!;
      if (nowMs - connection.idleSinceMs > Math.min(IDLE_MS, connection.keepAliveMs)) {
        connection.destroy();
      }
    }
  }

  /** The instance is gone: idle connections close now, busy ones after their answer. */
  close(): void {
    this.#isClosed = true;
    this.#plane.instancePools.delete(this);
    for (const connection of [...this.#idle]) connection.destroy();
  }

  #dial(connectTimeoutMs: number): InstanceConnection {
    const connection = new InstanceConnection(this.#plane, this.#address, connectTimeoutMs, this);
    this.#open.add(connection);
    return connection;
  }
}
