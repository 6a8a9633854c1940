import { BadMessage } from './bad-message.ts';
import { trimWhiteSpace } from './fields.ts';

/** RFC 9113 §8.2.1: lower case; a colon or a line end in here would be another field to an HTTP/1.1 reader. */
const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const LINE_END_OR_NUL = /[\r\n\0]/;
/** RFC 9113 §8.2.2: they speak of one HTTP/1.1 connection and make the message malformed. */
const CONNECTION_SPECIFIC: ReadonlySet<string> = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** What an HTTP/2 header list holds (name, value, name, value …): pseudo-header fields, and the rest as HTTP/1.1 lines. */
export interface FieldList {
  readonly pseudo: ReadonlyMap<string, string>;
  /** Each with its CRLF: what the HTTP/1.1 codec reads on with its own rules. */
  readonly lines: Buffer;
}

/**
 * Takes an HTTP/2 header or trailer list apart. Whatever would be two things to an HTTP/1.1 reader ends
 * here, so that one codec decides for both protocols.
 *
 * @param known names a pseudo-header field may have; each at most once, and before the others (§8.3)
 * @throws BadMessage 400
 */
export function readFieldList(list: readonly string[], known: readonly string[]): FieldList {
  const pseudo = new Map<string, string>();
  let lines = '';
  let cookie = '';
  for (let i = 0; i + 1 < list.length; i += 2) {
    const name = list[i]!;
    const value = list[i + 1]!;
    if (LINE_END_OR_NUL.test(value)) {
      throw new BadMessage(400, 'a field value has a line end or NUL');
    }
    if (name.startsWith(':')) {
      if (!known.includes(name) || pseudo.has(name) || lines !== '' || cookie !== '') {
        throw new BadMessage(400, 'a pseudo-header field that is unknown, repeated or too late');
      }
      pseudo.set(name, value);
      continue;
    }
    if (!NAME.test(name)) throw new BadMessage(400, 'a field name is not a lower-case token');
    if (CONNECTION_SPECIFIC.has(name)) {
      throw new BadMessage(400, `the field ${name} has no place in HTTP/2`);
    }
    if (name === 'te' && value.toLowerCase() !== 'trailers') {
      throw new BadMessage(400, 'TE is not "trailers"');
    }
    // §8.2.3: sent in crumbs for the sake of compression, one field to everybody else.
    if (name === 'cookie') cookie += (cookie && '; ') + value;
    else lines += `${name}: ${value}\r\n`;
  }
  if (cookie !== '') lines += `cookie: ${cookie}\r\n`;
  return { pseudo, lines: Buffer.from(lines, 'latin1') };
}

/**
 * Field lines, read by the codec or made by the gateway, as the end of an HTTP/2 list: names in lower case,
 * connection-specific ones left out.
 *
 * @param lines each with its CRLF
 * @param list appended to
 */
export function appendFields(lines: string, list: string[]): void {
  for (let at = 0; at < lines.length;) {
    const end = lines.indexOf('\r\n', at);
    const colon = lines.indexOf(':', at);
    const name = lines.slice(at, colon).toLowerCase();
    if (!CONNECTION_SPECIFIC.has(name)) {
      list.push(name, trimWhiteSpace(lines.slice(colon + 1, end)));
    }
    at = end + 2;
  }
}

/** Trailer lines for Node's `sendTrailers`, which takes an object only. */
export function trailerObject(lines: string): Record<string, string[]> {
  const list: string[] = [];
  appendFields(lines, list);
  const trailers = new Map<string, string[]>();
  for (let i = 0; i < list.length; i += 2) {
    const values = trailers.get(list[i]!);
    if (values === undefined) trailers.set(list[i]!, [list[i + 1]!]);
    else values.push(list[i + 1]!);
  }
  // Own properties, whatever the name: `__proto__` is a token, too.
  return Object.fromEntries(trailers);
}
