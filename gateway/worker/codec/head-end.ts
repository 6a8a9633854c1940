import { BadMessage } from './bad-message.ts';
import { CR, LF } from './chars.ts';
import { MAX_HEAD_BYTES } from './limits.ts';

/**
 * Where a head ends: offset of the CRLF CRLF in [start, end), or -1 while it is not there. Bytes behind
 * `end` are of an earlier read and do not count.
 *
 * A head that arrives in two reads can be whole and too large at once; let through, it would not fit a mux
 * frame either, and end the connection of everybody on it.
 *
 * @param status of the refusal: 431 to a client, 502 for a service
 * @throws BadMessage past MAX_HEAD_BYTES, whole or not
 */
export function headEnd(bytes: Buffer, start: number, end: number, status: number): number {
  const found = emptyLine(bytes, start, end);
  if ((found >= 0 ? found : end) - start > MAX_HEAD_BYTES) {
    throw new BadMessage(
      status,
      status === 502 ? 'the response head is too large' : 'the request head is too large',
    );
  }
  return found;
}

/**
 * A look at every fourth byte finds one of the four (Boyer-Moore). `indexOf` would do it in C++, but
 * crossing over and back is dearer than a head's hundred looks, and it does not stop at `end`.
 */
function emptyLine(bytes: Buffer, start: number, end: number): number {
  for (let at = start + 3; at < end;) {
    const byte = bytes[at]!;
    if (byte === LF) {
      if (bytes[at - 1] !== CR) at += 4;
      else if (bytes[at - 2] === LF && bytes[at - 3] === CR) return at - 3;
      else at += 2;
    } else at += byte === CR ? 1 : 4;
  }
  return -1;
}
