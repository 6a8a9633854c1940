import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** What happens to bytes on their way; `up` is from the client to the target. */
export interface Faults {
  /** Bytes wait here, in both directions or one, with the connection left open. */
  readonly stall?: 'both' | 'up' | 'down';
  /** New connections are reset at once. */
  readonly refuse?: boolean;
  /** Every chunk waits this long before it goes on, in both directions. */
  readonly delayMs?: number;
  /** A connection ends after it has carried so many bytes back to the client, however many there were to come. */
  readonly truncateAfter?: number;
}

export interface FaultProxy {
  readonly port: number;
  /** `127.0.0.1:40123` */
  readonly address: string;
  /** Open connections. */
  readonly connections: number;
  /** Replaces the faults in force; `set({})` heals and lets stalled bytes go on. */
  set(faults: Faults): void;
  /** Ends every open connection in order (FIN). */
  cut(): void;
  /** Ends every open connection by RST. */
  reset(): void;
  close(): Promise<void>;
}

/** A TCP proxy on 127.0.0.1 in front of `targetPort`, faultless until told otherwise. */
export async function startFaultProxy(
  targetPort: number,
  targetHost = '127.0.0.1',
): Promise<FaultProxy> {
  const links = new Set<Link>();
  let faults: Faults = {};
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    if (faults.refuse === true) {
      client.on('error', () => {});
      return void client.resetAndDestroy();
    }
    const target = connect({ port: targetPort, host: targetHost, allowHalfOpen: true });
    const link = new Link(client, target, () => faults);
    links.add(link);
    link.onEnd = () => links.delete(link);
  });
  const port = await listen(server);
  return {
    port,
    address: `127.0.0.1:${port}`,
    get connections() {
      return links.size;
    },
    set(next) {
      faults = next;
      for (const link of links) link.wake();
    },
    cut() {
      for (const link of [...links]) link.end();
    },
    reset() {
      for (const link of [...links]) link.reset();
    },
    async close() {
      for (const link of [...links]) link.reset();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

/** One proxied connection. */
class Link {
  onEnd: () => void = () => {};
  readonly #sockets: readonly [client: Socket, target: Socket];
  readonly #faults: () => Faults;
  readonly #flows: readonly [Flow, Flow];

  constructor(client: Socket, target: Socket, faults: () => Faults) {
    this.#sockets = [client, target];
    this.#faults = faults;
    target.setNoDelay(true);
    let carried = 0;
    const stalled = (way: 'up' | 'down') => {
      const { stall } = faults();
      return stall === 'both' || stall === way;
    };
    const delayMs = () => faults().delayMs ?? 0;
    const up = new Flow(client, target, { stalled: () => stalled('up'), delayMs });
    const down = new Flow(target, client, {
      stalled: () => stalled('down'),
      delayMs,
      cutAfter: (bytes) => {
        const left = (faults().truncateAfter ?? Infinity) - carried;
        carried += bytes;
        if (left <= bytes) setImmediate(() => this.end());
        return Math.max(0, left);
      },
    });
    this.#flows = [up, down];
    for (const socket of this.#sockets) {
      socket.on('error', () => this.reset());
      socket.on('close', () => this.#closed());
    }
  }

  wake(): void {
    const { truncateAfter } = this.#faults();
    if (truncateAfter === 0) this.end();
    for (const flow of this.#flows) flow.wake();
  }

  end(): void {
    for (const socket of this.#sockets) socket.destroySoon();
    this.onEnd();
  }

  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.onEnd();
  }

  #closed(): void {
    if (this.#sockets.every((socket) => socket.destroyed)) this.onEnd();
  }
}

interface FlowFaults {
  readonly stalled: () => boolean;
  readonly delayMs: () => number;
  /** Told the size of the next chunk; returns how much of it may pass. */
  readonly cutAfter?: (bytes: number) => number;
}

/** One direction: chunks leave in order, not before their time, and not while stalled. */
class Flow {
  readonly #to: Socket;
  readonly #from: Socket;
  readonly #faults: FlowFaults;
  readonly #queue: { readonly chunk: Buffer | undefined; readonly dueMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, faults: FlowFaults) {
    this.#from = from;
    this.#to = to;
    this.#faults = faults;
    from.on('data', (chunk: Buffer) => this.#take(chunk));
    from.on('end', () => this.#take(undefined));
    from.on('close', () => clearTimeout(this.#timer));
    to.on('drain', () => from.resume());
  }

  wake(): void {
    clearTimeout(this.#timer);
    while (this.#queue.length > 0 && !this.#faults.stalled()) {
      const { chunk, dueMs } = this.#queue[0]!;
      const waitMs = dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.wake(), waitMs);
        return;
      }
      this.#queue.shift();
      if (chunk === undefined) this.#to.end();
      else this.#pass(chunk);
    }
  }

  #take(chunk: Buffer | undefined): void {
    this.#queue.push({ chunk, dueMs: performance.now() + this.#faults.delayMs() });
    this.wake();
  }

  #pass(chunk: Buffer): void {
    const pass = this.#faults.cutAfter?.(chunk.length) ?? chunk.length;
    if (!this.#to.write(chunk.subarray(0, pass))) this.#from.pause();
  }
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
