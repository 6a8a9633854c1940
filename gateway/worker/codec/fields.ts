import type { HeaderRules } from './header-rules.ts';
import { BadMessage } from './bad-message.ts';
import { COLON, CR, FIELD_VALUE, HTAB, LF, SP, TOKEN } from './chars.ts';
import { MAX_FIELDS } from './limits.ts';

/**
 * Reads the fields of a head, strictly (RFC 9112 §5): token, colon directly behind it, value without
 * controls, CRLF; no folding, no bare LF or CR. Lines nobody has a rule for are copied in runs.
 *
 * @param end offset of the CRLF that ends the head's last line, plus 2
 * @param visit called for each field with a rule; says whether the line is dropped
 * @returns the kept lines, each with its CRLF
 * @throws BadMessage 400 or 431
 */
export function readFields(
  bytes: Buffer,
  start: number,
  end: number,
  rules: HeaderRules,
  visit: FieldVisitor,
): string {
  let kept = '';
  let run = start;
  let count = 0;
  let at = start;
  while (at < end) {
    const nameStart = at;
    while (TOKEN[bytes[at]!] === 1) at++;
    if (at === nameStart || bytes[at] !== COLON) {
      throw new BadMessage(400, 'a field name is not a token directly followed by ":"');
    }
    const nameEnd = at;
    at++;
    while (bytes[at] === SP || bytes[at] === HTAB) at++;
    const valueStart = at;
    while (FIELD_VALUE[bytes[at]!] === 1) at++;
    if (bytes[at] !== CR || bytes[at + 1] !== LF || at >= end) {
      throw new BadMessage(400, 'a field value has a control character or a bare line end');
    }
    const valueEnd = at;
    at += 2;
    if (++count > MAX_FIELDS) throw new BadMessage(431, `more than ${MAX_FIELDS} fields`);
    if (rules.first[bytes[nameStart]!] === 0) continue;
    const rule = rules.lookUp(bytes, nameStart, nameEnd);
    if (rule === 0) continue;
    if (visit.field(rule, bytes, valueStart, valueEnd, nameStart, nameEnd)) {
      if (nameStart > run) kept += bytes.latin1Slice(run, nameStart);
      run = at;
    }
  }
  if (end > run) kept += bytes.latin1Slice(run, end);
  return kept;
}

export interface FieldVisitor {
  /** True: the line is not copied. */
  field(
    rule: number,
    bytes: Buffer,
    valueStart: number,
    valueEnd: number,
    nameStart: number,
    nameEnd: number,
  ): boolean;
}

/** A field's value without trailing white space (leading is skipped by the parser). */
export function valueText(bytes: Buffer, start: number, end: number): string {
  let last = end;
  while (last > start && (bytes[last - 1] === SP || bytes[last - 1] === HTAB)) last--;
  return bytes.latin1Slice(start, last);
}

/**
 * Without white space around, as RFC 9110 §5.6.3 has it: space and tab. `String.trim` takes away more, U+00A0 among it,
 * and would make two values one.
 */
export function trimWhiteSpace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isWhiteSpace(text.charCodeAt(start))) start++;
  while (end > start && isWhiteSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isWhiteSpace(char: number): boolean {
  return char === SP || char === HTAB;
}

/** RFC 9110 §8.6: digits only, no sign, no list. -1 when it is not one. */
export function contentLength(bytes: Buffer, start: number, end: number): number {
  let last = end;
  while (last > start && (bytes[last - 1] === SP || bytes[last - 1] === HTAB)) last--;
  if (last === start || last - start > 15) return -1;
  let length = 0;
  for (let i = start; i < last; i++) {
    const digit = bytes[i]! - 48;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}

/** Removes the lines whose name is in `names` (lower case): the fields that `Connection` listed (RFC 9110 §7.6.1). */
export function withoutFields(lines: string, names: ReadonlySet<string>): string {
  let kept = '';
  for (let at = 0; at < lines.length;) {
    const next = lines.indexOf('\r\n', at) + 2;
    const name = lines.slice(at, lines.indexOf(':', at)).toLowerCase();
    if (!names.has(name)) kept += lines.slice(at, next);
    at = next;
  }
  return kept;
}

/** The value of the first field of that (lower-case) name among kept lines; for matches and logs, not for framing. */
export function findField(lines: string, name: string): string | undefined {
  for (let at = 0; at < lines.length;) {
    const next = lines.indexOf('\r\n', at) + 2;
    if (
      lines.charCodeAt(at + name.length) === COLON &&
      lines.slice(at, at + name.length).toLowerCase() === name
    ) {
      return trimWhiteSpace(lines.slice(at + name.length + 1, next - 2));
    }
    at = next;
  }
  return undefined;
}
