import { STATUS_CODES } from 'node:http';
import type { FieldVisitor } from './fields.ts';
import type { HeaderRules } from './header-rules.ts';
import { BadMessage } from './bad-message.ts';
import { FIELD_VALUE, SP } from './chars.ts';
import { readFieldList } from './field-list.ts';
import { contentLength, readFields, trimWhiteSpace, valueText, withoutFields } from './fields.ts';
import { RULE } from './header-rules.ts';

/** `HTTP/1.1 200` and its line end. */
const SHORTEST_BYTES = 14;

/** One response head after parsing; as strict as a request, since an origin can be hostile too. Filled anew each time. */
export class ResponseHead implements FieldVisitor {
  status = 0;
  /** `200 OK`: code and reason phrase as they came. */
  statusText = '';
  isHttp10 = false;
  /** -1 when there is none. */
  contentLength = -1;
  isChunked = false;
  closes = false;
  upgrade = '';
  /** Seconds the origin keeps an idle connection (`Keep-Alive: timeout=5`); 0 when it does not say. */
  keepAliveSeconds = 0;
  /** `x-gatemesh-reason` of another gateway. */
  reason = '';
  lines = '';

  #keepAlive = false;
  #listed: Set<string> | undefined;

  /**
   * @param end offset just behind the CRLF of the last line, before the empty line
   * @throws BadMessage with status 502
   */
  parse(bytes: Buffer, start: number, end: number, rules: HeaderRules): void {
    this.#reset();
    // Behind a shorter one the buffer may end, and a slice of it would throw something else.
    if (end - start < SHORTEST_BYTES) throw bad('the status line is not HTTP/1.1 or HTTP/1.0');
    const minor = bytes[start + 7]! - 48;
    const isHttp1 =
      bytes.latin1Slice(start, start + 7) === 'HTTP/1.' && (minor === 0 || minor === 1);
    if (!isHttp1 || bytes[start + 8] !== SP)
      throw bad('the status line is not HTTP/1.1 or HTTP/1.0');
    this.isHttp10 = minor === 0;
    const hundreds = bytes[start + 9]! - 48;
    const tens = bytes[start + 10]! - 48;
    const ones = bytes[start + 11]! - 48;
    const digits =
      hundreds >= 1 && hundreds <= 9 && tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9;
    if (!digits) throw bad('the status is not three digits');
    this.status = hundreds * 100 + tens * 10 + ones;
    let at = start + 12;
    while (FIELD_VALUE[bytes[at]!] === 1) at++;
    if (
      bytes[at] !== 13 ||
      bytes[at + 1] !== 10 ||
      at >= end ||
      (at > start + 12 && bytes[start + 12] !== SP)
    ) {
      throw bad('the status line has a control character or a bare line end');
    }
    this.statusText = bytes.latin1Slice(start + 9, at);

    this.lines = readFields(bytes, at + 2, end, rules, this);
    if (this.#listed !== undefined) this.lines = withoutFields(this.lines, this.#listed);
    if (this.isChunked && (this.contentLength >= 0 || this.isHttp10)) {
      throw bad('Transfer-Encoding together with Content-Length or HTTP/1.0');
    }
    this.closes ||= this.isHttp10 && !this.#keepAlive;
  }

  /**
   * Fills this head from an HTTP/2 header list (RFC 9113 §8.3.2), by the same rules as from bytes.
   *
   * @throws BadMessage
   */
  parseList(list: readonly string[], rules: HeaderRules): void {
    this.#reset();
    this.isHttp10 = false;
    const { pseudo, lines } = readFieldList(list, [':status']);
    const status = pseudo.get(':status') ?? '';
    if (!/^[1-5]\d\d$/.test(status)) throw bad(':status is not three digits from 100 to 599');
    this.status = Number(status);
    this.statusText = `${status} ${STATUS_CODES[status] ?? ''}`;
    this.lines = readFields(lines, 0, lines.length, rules, this);
  }

  field(rule: number, bytes: Buffer, start: number, end: number): boolean {
    switch (rule) {
      case RULE.contentLength:
        if (this.contentLength >= 0) throw bad('more than one Content-Length');
        this.contentLength = contentLength(bytes, start, end);
        if (this.contentLength < 0) throw bad('Content-Length is not a number');
        return true;
      case RULE.transferEncoding:
        if (this.isChunked || valueText(bytes, start, end).toLowerCase() !== 'chunked') {
          throw bad('Transfer-Encoding is not exactly "chunked"');
        }
        this.isChunked = true;
        return true;
      case RULE.connection:
        for (const part of valueText(bytes, start, end).toLowerCase().split(',')) {
          const option = trimWhiteSpace(part);
          if (option === 'close') this.closes = true;
          else if (option === 'keep-alive') this.#keepAlive = true;
          else if (option !== '' && option !== 'upgrade') (this.#listed ??= new Set()).add(option);
        }
        return true;
      case RULE.keepAlive: {
        const timeout = /timeout=(\d{1,6})/i.exec(valueText(bytes, start, end));
        if (timeout !== null) this.keepAliveSeconds = Number(timeout[1]);
        return true;
      }
      case RULE.upgrade:
        this.upgrade = valueText(bytes, start, end).toLowerCase();
        return true;
      case RULE.reason:
        this.reason = valueText(bytes, start, end);
        return true;
      case RULE.refuse:
        throw bad('an underscore spelling of a framing field');
      default:
        return true;
    }
  }

  #reset(): void {
    this.contentLength = -1;
    this.isChunked = false;
    this.closes = false;
    this.upgrade = '';
    this.keepAliveSeconds = 0;
    this.reason = '';
    this.#keepAlive = false;
    this.#listed = undefined;
  }
}

function bad(why: string): BadMessage {
  return new BadMessage(502, why);
}
