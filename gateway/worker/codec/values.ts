import { HTAB, LOWER, LOWER_HEX, REQUEST_ID, SP } from './chars.ts';

/**
 * Field values where they lie: read from the bytes, compared with what is expected, and made a string only where one is
 * kept. A call into C++ for a string costs as much as reading a hundred bytes here (test/bench/micro-codec.ts).
 */

const MAX_REQUEST_ID_BYTES = 128;
/** `00-` 32 hex `-` 16 hex `-` 2 hex. */
const TRACEPARENT_BYTES = 55;
const DASH = 0x2d;
const ZERO = 0x30;

/** Where a value ends without trailing white space (leading is skipped by the parser). */
export function valueEnd(bytes: Buffer, start: number, end: number): number {
  let last = end;
  while (last > start && (bytes[last - 1] === SP || bytes[last - 1] === HTAB)) last--;
  return last;
}

/** A field's value without trailing white space. */
export function valueText(bytes: Buffer, start: number, end: number): string {
  return bytes.latin1Slice(start, valueEnd(bytes, start, end));
}

/**
 * The same text, for what the messages of one connection mostly repeat (Host, status, instance): when the bytes are
 * those of `last` that is given back, and nothing allocated.
 */
export function textLike(last: string, bytes: Buffer, start: number, end: number): string {
  const length = end - start;
  if (last.length !== length) return bytes.latin1Slice(start, end);
  for (let i = 0; i < length; i++) {
    if (last.charCodeAt(i) !== bytes[start + i]) return bytes.latin1Slice(start, end);
  }
  return last;
}

/** Whether a value without trailing white space is this text, in any case. @param lower in lower case */
export function isValue(bytes: Buffer, start: number, end: number, lower: string): boolean {
  const length = lower.length;
  if (end - start < length || valueEnd(bytes, start, end) - start !== length) return false;
  for (let i = 0; i < length; i++) {
    if (LOWER[bytes[start + i]!] !== lower.charCodeAt(i)) return false;
  }
  return true;
}

/** RFC 9110 §8.6: digits only, no sign, no list. -1 when it is not one. */
export function contentLength(bytes: Buffer, start: number, end: number): number {
  const last = valueEnd(bytes, start, end);
  if (last === start || last - start > 15) return -1;
  let length = 0;
  for (let i = start; i < last; i++) {
    const digit = bytes[i]! - 48;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}

/** `x-request-id`: what fits into a log line and a header field anywhere; '' when it is not that. */
export function requestId(bytes: Buffer, start: number, end: number): string {
  const last = valueEnd(bytes, start, end);
  if (last === start || last - start > MAX_REQUEST_ID_BYTES) return '';
  for (let at = start; at < last; at++) if (REQUEST_ID[bytes[at]!] === 0) return '';
  return bytes.latin1Slice(start, last);
}

/** W3C Trace Context §3.2: version 00, lower-case hex, neither id all zeros; '' when it is not that. */
export function traceparent(bytes: Buffer, start: number, end: number): string {
  const last = valueEnd(bytes, start, end);
  const isOne =
    last - start === TRACEPARENT_BYTES &&
    bytes[start] === ZERO &&
    bytes[start + 1] === ZERO &&
    bytes[start + 2] === DASH &&
    isId(bytes, start + 3, start + 35) &&
    bytes[start + 35] === DASH &&
    isId(bytes, start + 36, start + 52) &&
    bytes[start + 52] === DASH &&
    LOWER_HEX[bytes[start + 53]!] === 1 &&
    LOWER_HEX[bytes[start + 54]!] === 1;
  return isOne ? bytes.latin1Slice(start, last) : '';
}

/** Lower-case hex, not all zeros. */
function isId(bytes: Buffer, start: number, end: number): boolean {
  let isZero = true;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (LOWER_HEX[byte] === 0) return false;
    if (byte !== ZERO) isZero = false;
  }
  return !isZero;
}
