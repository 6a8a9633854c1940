import { BadMessage } from './bad-message.ts';
import { CR, hexValue, LF } from './chars.ts';
import { readFields } from './fields.ts';
import { readFieldList } from './field-list.ts';
import { MAX_CHUNK_LINE_BYTES, MAX_TRAILER_BYTES } from './limits.ts';
import { HeaderRules, RULE } from './header-rules.ts';

/** Where decoded bytes go. `bytes` is only valid during the call. */
export interface ChunkSink {
  data(bytes: Buffer, start: number, end: number): void;
}

const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const DATA = 3;
const DATA_CR = 4;
const DATA_LF = 5;
const TRAILER = 6;
const DONE = 7;

/** Fields that must not come as trailers (RFC 9110 §6.5.1): framing, routing, and what gateways vouch for. */
const TRAILER_RULES = new HeaderRules(
  {
    'content-length': RULE.refuse,
    'transfer-encoding': RULE.refuse,
    host: RULE.refuse,
    connection: RULE.drop,
    te: RULE.drop,
    upgrade: RULE.drop,
    authorization: RULE.drop,
    cookie: RULE.drop,
    'set-cookie': RULE.drop,
  },
  [
    ['x-gatemesh-', RULE.drop],
    ['x-forwarded-', RULE.drop],
  ],
);

const trailerVisitor = {
  field(rule: number): boolean {
    if (rule === RULE.refuse) throw new BadMessage(400, 'a framing or routing field as a trailer');
    return true;
  },
};

/**
 * The trailers of an HTTP/2 message (RFC 9113 §8.1), by the same rules as those behind chunks.
 *
 * @returns lines, each with its CRLF
 * @throws BadMessage 400 or 431
 */
export function readTrailerList(list: readonly string[]): string {
  const { lines } = readFieldList(list, []);
  return readTrailers(lines, 0, lines.length);
}

/**
 * Reads a trailer section without the empty line that ends it.
 *
 * @param end offset just behind the CRLF of the last line
 * @returns the lines that may go on, each with its CRLF
 * @throws BadMessage 400 or 431
 */
export function readTrailers(bytes: Buffer, start: number, end: number): string {
  if (end - start > MAX_TRAILER_BYTES + 2) throw new BadMessage(400, 'the trailers are too long');
  return readFields(bytes, start, end, TRAILER_RULES, trailerVisitor);
}

/**
 * Takes chunked coding off a stream of bytes (RFC 9112 §7.1), strictly: hex size without sign or
 * space, CRLF and nothing else, bounded extensions (ignored) and trailers. One object per
 * connection, `reset` before each body.
 */
export class ChunkDecoder {
  /** Trailer lines, each with its CRLF; valid once `done`. */
  trailers = '';
  #state = DONE;
  #size = 0;
  #digits = 0;
  #line = 0;
  #tail: Buffer | undefined;

  get done(): boolean {
    return this.#state === DONE;
  }

  reset(): void {
    this.trailers = '';
    this.#state = SIZE;
    this.#size = 0;
    this.#digits = 0;
    this.#line = 0;
    this.#tail = undefined;
  }

  /**
   * Eats bytes up to the end of the body and hands the data on.
   *
   * @returns offset of the first byte not eaten; below `end` only when `done`
   * @throws BadMessage 400
   */
  feed(bytes: Buffer, start: number, end: number, sink: ChunkSink): number {
    let at = start;
    while (at < end) {
      switch (this.#state) {
        case SIZE: {
          const byte = bytes[at++]!;
          const digit = hexValue(byte);
          if (digit >= 0) {
            if (++this.#digits > 12) throw new BadMessage(400, 'a chunk is larger than can be');
            this.#size = this.#size * 16 + digit;
          } else if (this.#digits === 0)
            throw new BadMessage(400, 'a chunk size is not hexadecimal');
          else if (byte === CR) this.#state = SIZE_LF;
          else if (byte === 0x3b) this.#state = EXTENSION;
          else throw new BadMessage(400, 'a chunk size is not hexadecimal');
          break;
        }
        case EXTENSION: {
          const byte = bytes[at++]!;
          if (byte === CR) this.#state = SIZE_LF;
          else if (byte < 32 || byte === 127 || ++this.#line > MAX_CHUNK_LINE_BYTES) {
            throw new BadMessage(400, 'a chunk extension has a control character or is too long');
          }
          break;
        }
        case SIZE_LF:
          if (bytes[at++] !== LF) throw new BadMessage(400, 'a chunk size does not end with CRLF');
          this.#state = this.#size === 0 ? TRAILER : DATA;
          break;
        case DATA: {
          const take = Math.min(this.#size, end - at);
          sink.data(bytes, at, at + take);
          at += take;
          this.#size -= take;
          if (this.#size === 0) this.#state = DATA_CR;
          break;
        }
        case DATA_CR:
          if (bytes[at++] !== CR) throw new BadMessage(400, 'a chunk does not end with CRLF');
          this.#state = DATA_LF;
          break;
        case DATA_LF:
          if (bytes[at++] !== LF) throw new BadMessage(400, 'a chunk does not end with CRLF');
          this.#state = SIZE;
          this.#digits = 0;
          this.#line = 0;
          break;
        case TRAILER:
          at = this.#trailer(bytes, at, end);
          break;
        default:
          return at;
      }
    }
    return at;
  }

  /** Without trailers the section is just CRLF: the usual case, decided without a copy. */
  #trailer(bytes: Buffer, start: number, end: number): number {
    const held = this.#tail?.length ?? 0;
    const all =
      this.#tail === undefined
        ? bytes.subarray(start, end)
        : Buffer.concat([this.#tail, bytes.subarray(start, end)]);
    if (all.length >= 2 && all[0] === CR && all[1] === LF) {
      this.#state = DONE;
      return start + 2 - held;
    }
    const close = all.indexOf('\r\n\r\n', 0, 'latin1');
    if (close < 0) {
      if (all.length > MAX_TRAILER_BYTES) throw new BadMessage(400, 'the trailers are too long');
      this.#tail = Buffer.from(all);
      return end;
    }
    this.trailers = readTrailers(all, 0, close + 2);
    this.#state = DONE;
    return start + close + 4 - held;
  }
}
