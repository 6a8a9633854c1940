import { BadMessage } from './bad-message.ts';
import { hexValue, UNRESERVED } from './chars.ts';

/**
 * One spelling per path, used alike for matching, for authorisation and for what is forwarded:
 * otherwise `/%61dmin` or `//admin` passes a rule about `/admin` and the service still serves it
 * (Envoy CVE-2019-9901, CVE-2021-29492, CVE-2021-39156).
 *
 * Percent-encoded unreserved characters are decoded, other escapes upper-cased, runs of `/` merged.
 * Dot segments, `%2F`, `%5C`, `%00`, `\`, `#` and broken escapes are refused: whoever sends them
 * means something else than what a rule would see.
 *
 * @param path origin-form path without the query, starting with `/`
 * @throws BadMessage 400
 */
export function canonicalPath(path: string): string {
  let out = '';
  for (let i = 0; i < path.length; i++) {
    const char = path.charCodeAt(i);
    switch (char) {
      case 0x25: {
        const byte = (hexValue(path.charCodeAt(i + 1)) << 4) | hexValue(path.charCodeAt(i + 2));
        if (!(byte >= 0)) throw new BadMessage(400, 'the path has a broken percent-escape');
        if (byte === 0x2f || byte === 0x5c || byte === 0) {
          throw new BadMessage(400, 'the path has an encoded slash, backslash or NUL');
        }
        out +=
          UNRESERVED[byte] === 1 ? String.fromCharCode(byte) : path.slice(i, i + 3).toUpperCase();
        i += 2;
        break;
      }
      case 0x2f:
        if (!out.endsWith('/')) out += '/';
        break;
      case 0x5c:
        throw new BadMessage(400, 'the path has a backslash');
      case 0x23:
        throw new BadMessage(400, 'the path has a fragment');
      default:
        out += path[i];
    }
  }
  if (/\/\.\.?(?:\/|$)/.test(out)) throw new BadMessage(400, 'the path has a "." or ".." segment');
  return out;
}

/** True when `canonicalPath` could change or refuse it: the common path skips the slow look. */
export const SUSPICIOUS_PATH = /[%\\#]|\/\/|\/\./;
