import asn1 from 'node-forge/lib/asn1.js';
import type { Asn1 } from 'node-forge/lib/asn1.js';
import { MeshError } from '#kit/errors.ts';

/** DER (X.690): what certificates and requests are written in. Built and taken apart here, signed and verified elsewhere. */
export type Der = Asn1;

/** Identifier octets without the "constructed" bit: class in the two high bits, number in the low five. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  sequence: 0x10,
  set: 0x11,
  utcTime: 0x17,
  generalizedTime: 0x18,
  /** Context-specific, as in `[3] EXPLICIT`. */
  context: (number: number) => 0x80 | number,
} as const;

const CLASS_BITS = 0xc0;
const NUMBER_BITS = 0x1f;
/** A certificate nests about ten deep; CVE-2025-66031 was unbounded recursion. */
const MAX_DEPTH = 16;

// Building

function primitive(tag: number, bytes: Buffer): Der {
  return asn1.create(tag & CLASS_BITS, tag & NUMBER_BITS, false, bytes.toString('latin1'));
}

function constructed(tag: number, parts: readonly Der[]): Der {
  return asn1.create(tag & CLASS_BITS, tag & NUMBER_BITS, true, parts);
}

export const sequence = (...parts: readonly Der[]): Der => constructed(TAG.sequence, parts);
export const set = (...parts: readonly Der[]): Der => constructed(TAG.set, parts);
/** `[number] EXPLICIT`, or `[number] IMPLICIT` of a constructed type. */
export const tagged = (number: number, ...parts: readonly Der[]): Der =>
  constructed(TAG.context(number), parts);
/** `[number] IMPLICIT` of a primitive type. */
export const taggedBytes = (number: number, bytes: Buffer): Der =>
  primitive(TAG.context(number), bytes);
export const octetString = (bytes: Buffer): Der => primitive(TAG.octetString, bytes);
export const utf8String = (text: string): Der => primitive(TAG.utf8String, Buffer.from(text));
/** BOOLEAN TRUE. DER leaves a FALSE that is the default out, so nothing here writes one. */
export const yes = (): Der => primitive(TAG.boolean, Buffer.of(0xff));

export function oid(dotted: string): Der {
  return primitive(TAG.oid, Buffer.from(asn1.oidToDer(dotted).getBytes(), 'latin1'));
}

/** A non-negative INTEGER from its big-endian bytes. */
export function integer(bytes: Buffer): Der {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const minimal = bytes.subarray(start);
  // A leading one bit would make it negative.
  return primitive(
    TAG.integer,
    minimal[0]! & 0x80 ? Buffer.concat([Buffer.of(0), minimal]) : minimal,
  );
}

export function bitString(bytes: Buffer, unusedBits = 0): Der {
  return primitive(TAG.bitString, Buffer.concat([Buffer.of(unusedBits), bytes]));
}

/** RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on; seconds, no fractions. */
export function time(unixMs: number): Der {
  const digits = digitsOf(unixMs);
  return digits < '2050'
    ? primitive(TAG.utcTime, Buffer.from(digits.slice(2)))
    : primitive(TAG.generalizedTime, Buffer.from(digits));
}

export function encode(node: Der): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'latin1');
}

// Reading

/** What does not parse. `message` begins with the thing that was read. */
function malformed(what: string, problem: string, cause?: unknown): MeshError {
  return new MeshError('malformed_der', `${what}: ${problem}`, { cause });
}

/**
 * Parses exactly one DER value. Strict: at most `maxBytes`, nothing after it, and the bytes must be the
 * only ones DER allows for this value (minimal lengths, definite form), so that two readers cannot
 * see two different things in them.
 *
 * @throws MeshError `malformed_der`, starting with `what`
 */
export function decode(bytes: Buffer, what: string, maxBytes: number): Der {
  if (bytes.length > maxBytes) {
    throw malformed(what, `${bytes.length} bytes, at most ${maxBytes} are read`);
  }
  let node: Der;
  try {
    node = asn1.fromDer(bytes.toString('latin1'), {
      strict: true,
      parseAllBytes: true,
      // A bit string stays bytes: guessing at structure inside it is how CVE-2025-12816 came about.
      decodeBitStrings: false,
      maxDepth: MAX_DEPTH,
    });
  } catch (cause) {
    throw malformed(what, 'not one DER value', cause);
  }
  // The codec also reads BER. Whatever is not DER does not come out again as it went in.
  if (!encode(node).equals(bytes)) throw malformed(what, 'not in the one form DER allows');
  return node;
}

function tagOf(node: Der): number {
  return node.tagClass | node.type;
}

export function hasTag(node: Der | undefined, tag: number): node is Der {
  return node !== undefined && tagOf(node) === tag;
}

/** The parts of a SEQUENCE, SET or tagged value. */
export function partsOf(node: Der | undefined, tag: number, what: string): readonly Der[] {
  if (!hasTag(node, tag) || typeof node.value === 'string')
    throw malformed(what, 'wrong structure');
  return node.value;
}

/** The content octets of a primitive. */
export function bytesOf(node: Der | undefined, tag: number, what: string): Buffer {
  if (!hasTag(node, tag) || typeof node.value !== 'string')
    throw malformed(what, 'wrong structure');
  return Buffer.from(node.value, 'latin1');
}

export function oidOf(node: Der | undefined, what: string): string {
  const bytes = bytesOf(node, TAG.oid, what);
  // The last octet of each number has its high bit clear, and no number starts with a zero septet.
  const cut = bytes.length === 0 || (bytes.at(-1)! & 0x80) !== 0;
  if (cut || bytes.length > 32) throw malformed(what, 'not an object identifier');
  return asn1.derToOid(bytes.toString('latin1'));
}

/** The big-endian bytes of a non-negative INTEGER, without the sign octet. */
export function integerOf(node: Der | undefined, what: string): Buffer {
  const bytes = bytesOf(node, TAG.integer, what);
  if (bytes.length === 0) throw malformed(what, 'an empty integer');
  if (bytes[0]! & 0x80) throw malformed(what, 'a negative integer');
  return bytes[0] === 0 && bytes.length > 1 ? bytes.subarray(1) : bytes;
}

/** BOOLEAN TRUE; FALSE is always a default in what is read here, and DER leaves defaults out. */
export function expectTrue(node: Der | undefined, what: string): true {
  const bytes = bytesOf(node, TAG.boolean, what);
  if (bytes.length !== 1 || bytes[0] !== 0xff) {
    throw malformed(what, 'not in the one form DER allows');
  }
  return true;
}

/** The bytes of a BIT STRING and how many bits at the end do not count. */
export function bitStringOf(
  node: Der | undefined,
  what: string,
): { readonly bytes: Buffer; readonly unusedBits: number } {
  const content = bytesOf(node, TAG.bitString, what);
  const unusedBits = content[0];
  if (unusedBits === undefined || unusedBits > 7 || (content.length === 1 && unusedBits > 0)) {
    throw malformed(what, 'not a bit string');
  }
  const bytes = content.subarray(1);
  // DER: the bits that do not count are zero.
  if (unusedBits > 0 && (bytes.at(-1)! & ((1 << unusedBits) - 1)) !== 0) {
    throw malformed(what, 'not in the one form DER allows');
  }
  return { bytes, unusedBits };
}

/** `YYYYMMDDHHMMSSZ` */
function digitsOf(unixMs: number): string {
  return new Date(unixMs).toISOString().replace(/[-:T]|\.\d+/g, '');
}

const FULL_TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;

/** Unix milliseconds of a Time (RFC 5280 section 4.1.2.5); neither form may stand in for the other. */
export function timeOf(node: Der | undefined, what: string): number {
  const utc = hasTag(node, TAG.utcTime);
  const text = bytesOf(node, utc ? TAG.utcTime : TAG.generalizedTime, what).toString('latin1');
  const full = utc ? `${text < '50' ? '20' : '19'}${text}` : text;
  const match = FULL_TIME.exec(full);
  if (match === null) throw malformed(what, 'not a time in UTC with seconds');
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number);
  const ms = Date.UTC(year!, month! - 1, day, hour, minute, second);
  // Date.UTC carries 31 February over into March; what was written must come back.
  if (digitsOf(ms) !== full) throw malformed(what, 'not a date of the calendar');
  if (!utc && full < '2050') throw malformed(what, 'a year before 2050 as GeneralizedTime');
  return ms;
}
