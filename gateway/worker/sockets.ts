import net from 'node:net';
import type { Address } from '#kit/address.ts';

/** What reads from a socket; a `Wire`, once it is there. */
export interface ByteReader {
  onBytes(bytes: Buffer, start: number, end: number): void;
}

/**
 * One read buffer for all sockets: the kernel's bytes are parsed or copied before the next read can
 * start, so idle connections hold no buffer and a read allocates nothing. Node's own way makes a
 * 64 KiB ArrayBuffer per read and gives most of it back at once; collecting them was an eighth of all CPU.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(65_536);

/**
 * Starts a TCP connection; its bytes go where `readFrom` says.
 *
 * @param allowHalfOpen when the peer has sent its last byte, ours may still follow
 */
export function dial({ host, port }: Address, allowHalfOpen = false): net.Socket {
  return net.connect({ host, port, allowHalfOpen, noDelay: true, keepAlive: true });
}

/**
 * Reads a socket, accepted or dialled, plain or TLS, into `reader`. Before its first byte.
 *
 * Node documents this mode (`onread`) for sockets that are dialled only; what the option sets is the same for
 * every socket, and found here by name. Where a release keeps it elsewhere, the usual events serve.
 */
export function readFrom(socket: net.Socket, reader: ByteReader): void {
  if (SLOTS === undefined) {
    socket.on('data', (chunk: Buffer) => reader.onBytes(chunk, 0, chunk.length));
    return;
  }
  const slots = socket as unknown as Record<symbol, unknown>;
  slots[SLOTS.buffer] = READ_BUFFER;
  slots[SLOTS.callback] = (count: number) => {
    reader.onBytes(READ_BUFFER, 0, count);
    return true;
  };
  handleOf(socket)?.useUserBuffer?.(READ_BUFFER);
  // What came while it was not known yet who would read.
  const early = socket.read() as Buffer | null;
  if (early !== null) reader.onBytes(early, 0, early.length);
}

/** Who is at the other end. IPv4 clients of a dual-stack socket show as ::ffff:1.2.3.4. */
export function clientAddressOf({ remoteAddress }: net.Socket): string {
  if (remoteAddress === undefined) return 'unknown';
  return remoteAddress.startsWith('::ffff:') ? remoteAddress.slice(7) : remoteAddress;
}

interface Handle {
  useUserBuffer?(buffer: Buffer): void;
}

function handleOf(socket: net.Socket): Handle | null | undefined {
  return (socket as unknown as { readonly _handle?: Handle | null })._handle;
}

/** Where a socket keeps its read buffer and the function that takes what was read; undefined when this release differs. */
const SLOTS = findSlots();

function findSlots(): { readonly buffer: symbol; readonly callback: symbol } | undefined {
  const symbols = Object.getOwnPropertySymbols(new net.Socket());
  const named = (name: string): symbol | undefined =>
    symbols.find(({ description }) => description === name);
  const buffer = named('kBuffer');
  const callback = named('kBufferCb');
  return buffer === undefined || callback === undefined ? undefined : { buffer, callback };
}
