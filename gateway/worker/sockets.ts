import net from 'node:net';
import type { Address } from '#kit/address.ts';

/** What reads from a socket; a `Wire`, once it is there. */
export interface ByteReader {
  onBytes(bytes: Buffer, start: number, end: number): void;
}

/**
 * One read buffer for every plain socket: the kernel's bytes are parsed or copied before the next
 * read can start, so idle connections hold no buffer and a read allocates nothing.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(65_536);

/** Starts a TCP connection whose bytes go to `reader.current`, set by the caller right after. */
export function dial(address: Address): { socket: net.Socket; readTo(reader: ByteReader): void } {
  let reader: ByteReader | undefined;
  const socket = net.connect({
    host: address.host,
    port: address.port,
    noDelay: true,
    keepAlive: true,
    onread: {
      buffer: READ_BUFFER,
      callback: (count) => {
        reader?.onBytes(READ_BUFFER, 0, count);
        return true;
      },
    },
  });
  return {
    socket,
    readTo(next) {
      reader = next;
    },
  };
}

/** Reads an accepted socket (or a TLS one) into `reader`. */
export function readFrom(socket: net.Socket, reader: ByteReader): void {
  socket.on('data', (chunk: Buffer) => reader.onBytes(chunk, 0, chunk.length));
}
