/** Lookup tables over bytes: 1 where the byte is allowed. One load per byte is what keeps the parser single-pass and cheap. */

function table(allowed: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (allowed(byte) ? 1 : 0));
}

function isAlphaNumeric(byte: number): boolean {
  return (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122);
}

/** RFC 9110 §5.6.2 tchar: what a method and a field name are made of. */
export const TOKEN = table(
  (b) => isAlphaNumeric(b) || "!#$%&'*+-.^_`|~".includes(String.fromCharCode(b)),
);

/** RFC 9110 §5.5: field values: visible characters, space, tab and obs-text; never CR, LF, NUL or another control. */
export const FIELD_VALUE = table((b) => (b >= 32 && b !== 127) || b === 9);

/** Request-target bytes: visible ASCII. Spaces, controls and raw non-ASCII end in 400 (RFC 9112 §3.2). */
export const TARGET = table((b) => b > 32 && b < 127);

/** RFC 3986 §2.3 unreserved: percent-encoding one of these changes nothing, so canonical paths carry them bare. */
export const UNRESERVED = table(
  (b) => isAlphaNumeric(b) || b === 45 || b === 46 || b === 95 || b === 126,
);

/** What a request id may be made of: nothing that a log, a URL or a header field would have to escape. */
export const REQUEST_ID = table(
  (b) => isAlphaNumeric(b) || '._:@=+/-'.includes(String.fromCharCode(b)),
);

/** RFC 9562 and W3C Trace Context write ids so. */
export const LOWER_HEX = table((b) => (b >= 48 && b <= 57) || (b >= 97 && b <= 102));

/** ASCII letters in lower case, every other byte as it is: names of fields are compared without case. */
export const LOWER = Uint8Array.from({ length: 256 }, (_, b) => (b >= 65 && b <= 90 ? b + 32 : b));

/** Value of a hexadecimal digit, or -1. */
export function hexValue(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

export const CR = 13;
export const LF = 10;
export const SP = 32;
export const HTAB = 9;
export const COLON = 58;
