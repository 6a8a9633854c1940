import { BadMessage } from './bad-message.ts';

/** A ClientHello with all its extensions, post-quantum key shares included, has a few KiB. */
const MAX_HELLO_BYTES = 16_384;

const RECORD_HEADER_BYTES = 5;
const MAX_RECORD_BYTES = 16_384;
const HANDSHAKE_HEADER_BYTES = 4;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const HOST_NAME = 0;

const NAME = /^[a-z0-9_](?:[-a-z0-9_.]{0,251}[a-z0-9_])?$/;

/**
 * The server name (SNI, RFC 6066 §3) that the ClientHello at the start of a TLS connection asks for. Nothing else of
 * it is looked at, but all of its lengths must be right: what we read is what the service reads.
 *
 * @param bytes all that has come so far; bytes behind the ClientHello are left alone
 * @returns lower case, '' when it asks for none; undefined while it is not whole
 * @throws BadMessage 400 when this is no ClientHello (RFC 8446 §4.1.2, §5.1) of at most 16 KiB
 */
export function readServerName(bytes: Buffer): string | undefined {
  const hello = joinRecords(bytes);
  return hello === undefined ? undefined : serverNameOf(new Reader(hello, 0, hello.length));
}

/** The message without record headers, which may cut it anywhere; undefined while it is not whole. */
function joinRecords(bytes: Buffer): Buffer | undefined {
  const pieces: Buffer[] = [];
  let have = 0;
  /** By the records' own word; the last one may still be coming. */
  let stated = 0;
  let at = 0;
  for (;;) {
    if (at < bytes.length && bytes[at] !== HANDSHAKE) throw bad('this is no TLS handshake');
    if (at + 1 < bytes.length && bytes[at + 1] !== 3) throw bad('an unknown version of TLS');
    if (at + RECORD_HEADER_BYTES > bytes.length) return undefined;
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || length > MAX_RECORD_BYTES) throw bad('a record of an impossible length');
    at += RECORD_HEADER_BYTES;
    const piece = bytes.subarray(at, at + length);
    pieces.push(piece);
    have += piece.length;
    stated += length;
    at += length;
    const message = have < HANDSHAKE_HEADER_BYTES ? undefined : Buffer.concat(pieces);
    if (message !== undefined) {
      if (message[0] !== CLIENT_HELLO) throw bad('the handshake does not start with a ClientHello');
      const end = HANDSHAKE_HEADER_BYTES + message.readUIntBE(1, 3);
      if (end > MAX_HELLO_BYTES) throw bad('the ClientHello is too large');
      if (stated > end) throw bad('a record has more in it than the ClientHello');
      if (have === end) return message.subarray(HANDSHAKE_HEADER_BYTES);
    }
    // Also when it comes in a thousand records of a byte each.
    if (at > 2 * MAX_HELLO_BYTES) throw bad('the ClientHello is too large');
    if (piece.length < length) return undefined;
  }
}

function serverNameOf(hello: Reader): string {
  hello.skip(2);
  hello.skip(32);
  if (hello.vector(1).left > 32) throw bad('a session id of more than 32 bytes');
  const ciphers = hello.vector(2).left;
  if (ciphers < 2 || ciphers % 2 !== 0) throw bad('no list of cipher suites');
  if (hello.vector(1).left === 0) throw bad('no list of compression methods');
  if (hello.left === 0) return '';
  const extensions = hello.vector(2);
  hello.end();
  let name: string | undefined;
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    if (type !== SERVER_NAME) continue;
    if (name !== undefined) throw bad('two server names');
    name = hostNameOf(content);
  }
  return name ?? '';
}

function hostNameOf(extension: Reader): string {
  const list = extension.vector(2);
  extension.end();
  if (list.number(1) !== HOST_NAME) throw bad('a server name that is no host name');
  const name = list.vector(2).text().toLowerCase();
  list.end();
  if (!NAME.test(name)) throw bad('a server name that is no host name');
  return name;
}

/** Reads within its bounds or throws. */
class Reader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  /** @returns where the skipped bytes began */
  skip(count: number): number {
    if (count > this.left) throw bad('a length that goes past the end');
    const from = this.#at;
    this.#at += count;
    return from;
  }

  number(width: 1 | 2): number {
    return this.#bytes.readUIntBE(this.skip(width), width);
  }

  /** What follows its own length of `width` bytes. */
  vector(width: 1 | 2): Reader {
    const length = this.number(width);
    const from = this.skip(length);
    return new Reader(this.#bytes, from, from + length);
  }

  text(): string {
    return this.#bytes.latin1Slice(this.#at, this.#end);
  }

  end(): void {
    if (this.left > 0) throw bad('more bytes than a length says');
  }
}

function bad(why: string): BadMessage {
  return new BadMessage(400, `TLS: ${why}`);
}
