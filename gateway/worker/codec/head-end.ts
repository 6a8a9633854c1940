import { BadMessage } from './bad-message.ts';
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
  const found = bytes.indexOf('\r\n\r\n', start, 'latin1');
  const isWhole = found >= 0 && found + 4 <= end;
  if ((isWhole ? found : end) - start > MAX_HEAD_BYTES) {
    throw new BadMessage(
      status,
      status === 502 ? 'the response head is too large' : 'the request head is too large',
    );
  }
  return isWhole ? found : -1;
}
