import { connect, createServer, type Socket } from 'node:net';
import type { Address } from '#kit/address.ts';
import { freePorts } from './processes.ts';

/** A TCP relay that writes down what passes: what somebody on the wire between two gateways would see. */
export interface Relay {
  readonly address: Address;
  readonly connections: readonly RelayedConnection[];
  /** Ends the relay and every connection through it. */
  close(): Promise<void>;
}

export interface RelayedConnection {
  /** Unix ms. */
  readonly openedAt: number;
  /** Undefined while it is open. */
  readonly closedAt: number | undefined;
  /** The bytes of each direction, up to `KEPT_BYTES`. */
  readonly fromCaller: Buffer;
  readonly fromCallee: Buffer;
}

/** Enough for some thousand requests; the rest is counted as passed and not kept. */
const KEPT_BYTES = 4 * 1024 * 1024;

export async function recordingRelay(target: Address): Promise<Relay> {
  const connections: Recorded[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((caller) => {
    const callee = connect(target);
    const recorded = new Recorded();
    connections.push(recorded);
    for (const [from, to, kept] of [
      [caller, callee, recorded.caller],
      [callee, caller, recorded.callee],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('data', (chunk: Buffer) => recorded.keep(kept, chunk));
      from.pipe(to);
      // A reset on one side is passed on; the close below ends both.
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        recorded.closedAt ??= Date.now();
        to.destroySoon();
      });
    }
  });
  const [port] = await freePorts(target.host, 1);
  const address = { host: target.host, port: port! };
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, resolve);
  });
  return {
    address,
    connections,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

class Recorded implements RelayedConnection {
  readonly openedAt = Date.now();
  readonly caller: Buffer[] = [];
  readonly callee: Buffer[] = [];
  closedAt: number | undefined;
  #keptBytes = 0;

  get fromCaller(): Buffer {
    return Buffer.concat(this.caller);
  }

  get fromCallee(): Buffer {
    return Buffer.concat(this.callee);
  }

  keep(chunks: Buffer[], chunk: Buffer): void {
    if (this.#keptBytes >= KEPT_BYTES) return;
    this.#keptBytes += chunk.length;
    chunks.push(chunk);
  }
}

/** What is wrong with bytes that should be a run of TLS records (RFC 8446 section 5.1); undefined when nothing is. */
export function tlsRecordProblem(bytes: Buffer): string | undefined {
  let at = 0;
  let records = 0;
  while (at + 5 <= bytes.length) {
    const type = bytes[at]!;
    const version = bytes.readUInt16BE(at + 1);
    const length = bytes.readUInt16BE(at + 3);
    // change_cipher_spec, alert, handshake, application_data; "legacy" versions 3.1 to 3.3; 2^14 + 256 bytes at most.
    if (type < 20 || type > 23 || version < 0x0301 || version > 0x0303 || length > 16_640) {
      return `at byte ${at} there is no TLS record but ${bytes.subarray(at, at + 5).toString('hex')}`;
    }
    at += 5 + length;
    records += 1;
  }
  return records === 0 ? `there is not one TLS record in ${bytes.length} bytes` : undefined;
}
