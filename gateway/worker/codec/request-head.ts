import type { FieldVisitor } from './fields.ts';
import type { HeaderRules } from './header-rules.ts';
import { BadMessage } from './bad-message.ts';
import { SP, TARGET, TOKEN } from './chars.ts';
import { readFieldList } from './field-list.ts';
import { findField, readFields, trimWhiteSpace, withoutFields } from './fields.ts';
import { MESH_RULES, RULE } from './header-rules.ts';
import { MAX_TARGET_BYTES } from './limits.ts';
import { canonicalPath, SUSPICIOUS_PATH } from './path.ts';
import * as values from './values.ts';

const HOST = /^(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9](?:[-a-z0-9._]{0,253})?)(?::(\d{1,5}))?$/;
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const PATH = /^[\x21-\x7e]+$/;
/** RFC 9113 §8.3.1. */
const PSEUDO = [':method', ':scheme', ':authority', ':path'] as const;
const HOPS = /^\d{1,4}$/;
/** What a TCP connection asks for between gateways, as a WebSocket does: bytes both ways, and nothing else. */
export const TCP_UPGRADE = 'gatemesh-tcp';

/**
 * One request head after parsing: what the gateway acts on, and the other field lines as they came.
 * One object per connection, filled anew for each request: nothing here outlives the request.
 */
export class RequestHead implements FieldVisitor {
  method = '';
  /** Lower case, without the port. */
  host = '';
  /** As the client wrote it: what the service gets to see. */
  authority = '';
  /** Canonical, see path.ts; `*` only for OPTIONS. */
  path = '';
  /** Without the `?`. */
  query = '';
  /** Canonical path and query: what is forwarded. */
  target = '';
  /** The client spoke HTTP/1.0: no chunked answer, close unless asked otherwise. */
  isHttp10 = false;
  /** -1 when there is none. */
  contentLength = -1;
  isChunked = false;
  /** The connection ends after this exchange. */
  closes = false;
  /** The protocol asked for, lower case; '' when none. */
  upgrade = '';
  /** No HTTP at all, but a connection's bytes. Only a gateway's word for it counts. */
  isTcp = false;
  expectsContinue = false;
  acceptsTrailers = false;
  requestId = '';
  traceparent = '';
  forwardedFor = '';
  forwardedProto = '';
  forwardedHost = '';
  /** Gateways that took this request in before, as far as it says itself. */
  hops = 0;
  /** From another gateway: the instance its balancer chose. */
  instance = '';
  /** Field lines to pass on, each with its CRLF. */
  lines = '';

  #hasHost = false;
  #keepAlive = false;
  #listsUpgrade = false;
  #listed: Set<string> | undefined;
  /** No Host gets here that looks like this; a space does, as `:authority`. */
  #lastAuthority = '\0';
  #lastHost = '';
  #lastInstance = '';

  get hasBody(): boolean {
    return this.isChunked || this.contentLength > 0;
  }

  /** Once the other side agrees, bytes flow both ways. */
  get wantsTunnel(): boolean {
    return this.isTcp || (this.upgrade === 'websocket' && !this.hasBody);
  }

  /** A TCP connection as a request, so that it takes a request's steps. @param host what it asked for by SNI, or '' */
  openTcp(host: string): void {
    this.#reset();
    this.method = 'TCP';
    this.host = host;
    this.authority = host;
    this.path = '/';
    this.target = '/';
    this.query = '';
    this.lines = '';
    this.isHttp10 = false;
    this.upgrade = TCP_UPGRADE;
    this.isTcp = true;
  }

  /** Whoever calls with gRPC understands trailers, and says so; failures are told in its own way. */
  get isGrpc(): boolean {
    return (
      this.acceptsTrailers &&
      findField(this.lines, 'content-type')?.startsWith('application/grpc') === true
    );
  }

  /** For routing and intentions: the value of a field that is passed on. */
  header(name: string): string | undefined {
    if (name === 'host') return this.authority;
    return findField(this.lines, name);
  }

  /**
   * Fills this head from bytes.
   *
   * @param end offset just behind the CRLF of the last line, before the empty line
   * @throws BadMessage 400, 414, 417, 431, 505
   */
  parse(bytes: Buffer, start: number, end: number, rules: HeaderRules): void {
    this.#reset();
    let at = start;
    while (TOKEN[bytes[at]!] === 1) at++;
    if (at === start || bytes[at] !== SP) {
      throw new BadMessage(400, 'the request line does not start with a method and one space');
    }
    this.method = values.textLike(this.method, bytes, start, at);
    const targetStart = ++at;
    while (TARGET[bytes[at]!] === 1) at++;
    if (at === targetStart || bytes[at] !== SP) {
      throw new BadMessage(400, 'the request target is empty or has a character it may not have');
    }
    if (at - targetStart > MAX_TARGET_BYTES) throw new BadMessage(414, 'the target is too long');
    const target = bytes.latin1Slice(targetStart, at);
    at = this.#version(bytes, at + 1);

    this.lines = readFields(bytes, at, end, rules, this);
    if (this.#listed !== undefined) this.lines = withoutFields(this.lines, this.#listed);

    this.#target(target);
    this.#framing();
    // RFC 9110 §7.8: of no meaning in HTTP/1.0, or where `Connection` does not list it.
    if (this.isHttp10 || !this.#listsUpgrade) this.upgrade = '';
    this.isTcp = this.upgrade === TCP_UPGRADE && rules === MESH_RULES;
    if (this.isTcp && (this.isChunked || this.contentLength >= 0)) {
      throw new BadMessage(400, 'a TCP connection with the length of a body');
    }
    this.closes ||= this.isHttp10 && !this.#keepAlive;
  }

  /**
   * Fills this head from an HTTP/2 header list (RFC 9113 §8.3): name, value, name, value …, by the same
   * rules as from bytes.
   *
   * @throws BadMessage 400, 405, 414, 417, 431
   */
  parseList(list: readonly string[], rules: HeaderRules): void {
    this.#reset();
    this.isHttp10 = false;
    const { pseudo, lines } = readFieldList(list, PSEUDO);
    const method = pseudo.get(':method') ?? '';
    if (!METHOD.test(method)) throw new BadMessage(400, ':method is not a method');
    this.method = method;
    if (method === 'CONNECT') throw new BadMessage(405, 'CONNECT is not served here');
    if (!/^https?$/.test(pseudo.get(':scheme') ?? '')) {
      throw new BadMessage(400, ':scheme is neither http nor https');
    }
    const path = pseudo.get(':path') ?? '';
    if (path.length > MAX_TARGET_BYTES) throw new BadMessage(414, 'the target is too long');
    if (!PATH.test(path) || (path[0] !== '/' && path !== '*')) {
      throw new BadMessage(400, ':path does not start with "/" or has a character it may not have');
    }
    this.lines = readFields(lines, 0, lines.length, rules, this);
    const authority = pseudo.get(':authority');
    if (authority !== undefined) this.#setAuthority(authority, ':authority');
    this.#target(path);
  }

  field(
    rule: number,
    bytes: Buffer,
    start: number,
    end: number,
    nameStart: number,
    nameEnd: number,
  ): boolean {
    switch (rule) {
      case RULE.host:
        if (this.#hasHost) throw new BadMessage(400, 'more than one Host');
        this.#hasHost = true;
        this.authority = values.textLike(
          this.#lastAuthority,
          bytes,
          start,
          values.valueEnd(bytes, start, end),
        );
        return true;
      case RULE.contentLength:
        if (this.contentLength >= 0) throw new BadMessage(400, 'more than one Content-Length');
        this.contentLength = values.contentLength(bytes, start, end);
        if (this.contentLength < 0) throw new BadMessage(400, 'Content-Length is not a number');
        return true;
      case RULE.transferEncoding:
        if (this.isChunked || values.valueText(bytes, start, end).toLowerCase() !== 'chunked') {
          throw new BadMessage(400, 'Transfer-Encoding is not exactly "chunked"');
        }
        this.isChunked = true;
        return true;
      case RULE.connection:
        if (values.isValue(bytes, start, end, 'keep-alive')) this.#keepAlive = true;
        else this.#connection(values.valueText(bytes, start, end).toLowerCase());
        return true;
      case RULE.expect:
        if (values.valueText(bytes, start, end).toLowerCase() !== '100-continue') {
          throw new BadMessage(417, 'Expect is not "100-continue"');
        }
        this.expectsContinue = true;
        return true;
      case RULE.upgrade:
        this.upgrade = values.valueText(bytes, start, end).toLowerCase();
        return true;
      case RULE.te:
        this.acceptsTrailers ||= /(?:^|,)[ \t]*trailers[ \t]*(?:$|,|;)/i.test(
          values.valueText(bytes, start, end),
        );
        return true;
      case RULE.requestId:
        this.requestId = values.requestId(bytes, start, end);
        return true;
      case RULE.traceparent:
        this.traceparent = values.traceparent(bytes, start, end);
        return true;
      case RULE.forwardedFor:
        this.forwardedFor += (this.forwardedFor && ', ') + values.valueText(bytes, start, end);
        return true;
      case RULE.forwardedProto:
        this.forwardedProto = values.valueText(bytes, start, end);
        return true;
      case RULE.forwardedHost:
        this.forwardedHost = values.valueText(bytes, start, end);
        return true;
      case RULE.instance:
        this.#lastInstance = values.textLike(
          this.#lastInstance,
          bytes,
          start,
          values.valueEnd(bytes, start, end),
        );
        this.instance = this.#lastInstance;
        return true;
      case RULE.hops:
        // Of several the largest, and no more than counts: it only ever gets the request itself refused.
        this.hops = Math.max(
          this.hops,
          Number(matching(HOPS, values.valueText(bytes, start, end))),
        );
        return true;
      case RULE.refuse:
        throw new BadMessage(
          400,
          `the field ${bytes.latin1Slice(nameStart, nameEnd)} looks like a framing field`,
        );
      default:
        return true;
    }
  }

  #reset(): void {
    this.contentLength = -1;
    this.isChunked = false;
    this.closes = false;
    this.upgrade = '';
    this.isTcp = false;
    this.expectsContinue = false;
    this.acceptsTrailers = false;
    this.requestId = '';
    this.traceparent = '';
    this.forwardedFor = '';
    this.forwardedProto = '';
    this.forwardedHost = '';
    this.hops = 0;
    this.instance = '';
    this.authority = '';
    this.#hasHost = false;
    this.#keepAlive = false;
    this.#listsUpgrade = false;
    this.#listed = undefined;
  }

  /** `HTTP/1.1` or `HTTP/1.0`, then CRLF; returns the offset of the first field. */
  #version(bytes: Buffer, at: number): number {
    const isHttp =
      bytes[at] === 0x48 &&
      bytes[at + 1] === 0x54 &&
      bytes[at + 2] === 0x54 &&
      bytes[at + 3] === 0x50;
    if (!isHttp || bytes[at + 4] !== 0x2f || bytes[at + 8] !== 13 || bytes[at + 9] !== 10) {
      throw new BadMessage(400, 'the request line does not end with an HTTP version');
    }
    const minor = bytes[at + 7]! - 48;
    if (bytes[at + 5] !== 0x31 || bytes[at + 6] !== 0x2e || minor < 0 || minor > 1) {
      throw new BadMessage(505, 'the version is neither HTTP/1.1 nor HTTP/1.0');
    }
    this.isHttp10 = minor === 0;
    return at + 10;
  }

  #connection(value: string): void {
    for (const part of value.split(',')) {
      const option = trimWhiteSpace(part);
      if (option === 'close') this.closes = true;
      else if (option === 'keep-alive') this.#keepAlive = true;
      else if (option === 'upgrade') this.#listsUpgrade = true;
      else if (option !== '' && option !== 'te') {
        (this.#listed ??= new Set()).add(option);
      }
    }
  }

  /** RFC 9112 §3.2: origin-form, absolute-form (its authority wins and must agree with Host), `*` for OPTIONS. */
  #target(target: string): void {
    let pathAndQuery = target;
    if (target.charCodeAt(0) !== 0x2f) {
      const absolute = /^https?:\/\/([^/?#]+)(.*)$/i.exec(target);
      if (absolute !== null) {
        this.#setAuthority(absolute[1]!, 'the absolute target');
        pathAndQuery = absolute[2]!.startsWith('/') ? absolute[2]! : `/${absolute[2]!}`;
      } else if (target !== '*' || this.method !== 'OPTIONS') {
        throw new BadMessage(400, 'the target is not a path, an http URL, or "*" for OPTIONS');
      }
    }
    this.#setHost();
    const question = pathAndQuery.indexOf('?');
    const path = question < 0 ? pathAndQuery : pathAndQuery.slice(0, question);
    this.query = question < 0 ? '' : pathAndQuery.slice(question + 1);
    if (this.query.includes('#')) throw new BadMessage(400, 'the target has a fragment');
    this.path = SUSPICIOUS_PATH.test(path) ? canonicalPath(path) : path;
    this.target = this.path === path ? pathAndQuery : this.path + pathAndQuery.slice(path.length);
  }

  /** Wins over Host, and must agree with it: the service might go by the other. */
  #setAuthority(authority: string, where: string): void {
    if (this.#hasHost && this.authority.toLowerCase() !== authority.toLowerCase()) {
      throw new BadMessage(400, `Host and ${where} disagree`);
    }
    this.authority = authority;
    this.#hasHost = true;
  }

  #setHost(): void {
    if (!this.#hasHost) {
      if (!this.isHttp10) throw new BadMessage(400, 'no Host');
      this.host = '';
      return;
    }
    // Connections mostly ask for one host again and again.
    if (this.authority === this.#lastAuthority) {
      this.host = this.#lastHost;
      return;
    }
    const lower = this.authority.toLowerCase();
    const match = HOST.exec(lower);
    if (match === null || Number(match[1] ?? 0) > 65_535) {
      throw new BadMessage(400, 'Host is not a host name with an optional port');
    }
    this.host = match[1] === undefined ? lower : lower.slice(0, -match[1].length - 1);
    this.#lastAuthority = this.authority;
    this.#lastHost = this.host;
  }

  /** RFC 9112 §6.1: whoever sends two framings wants two readers to disagree. */
  #framing(): void {
    if (!this.isChunked) return;
    if (this.contentLength >= 0) {
      throw new BadMessage(400, 'both Content-Length and Transfer-Encoding');
    }
    if (this.isHttp10) throw new BadMessage(400, 'Transfer-Encoding in an HTTP/1.0 request');
  }
}

function matching(pattern: RegExp, value: string): string {
  return pattern.test(value) ? value : '';
}
