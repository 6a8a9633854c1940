import { randomFillSync } from 'node:crypto';

/**
 * Random hex made 512 bytes at a time and cut up: an id is then a slice of a string, not two calls into C++.
 * Not more at a time: whoever keeps an id keeps the string it was cut from.
 */
const bytes = Buffer.alloc(512);
let pool = '';
let used = 0;

/** `length` random digits in lower-case hex; at most 1,024. */
export function randomHex(length: number): string {
  if (used + length > pool.length) {
    randomFillSync(bytes);
    pool = bytes.hexSlice(0, bytes.length);
    used = 0;
  }
  used += length;
  return pool.slice(used - length, used);
}

/**
 * W3C Trace Context: the trace goes on under a span of ours, or a new, unsampled one starts.
 *
 * @param incoming a valid version-00 traceparent, or ''
 */
export function nextTraceparent(incoming: string): string {
  if (incoming === '') return `00-${randomHex(32)}-${randomHex(16)}-00`;
  return `${incoming.slice(0, 36)}${randomHex(16)}${incoming.slice(52)}`;
}
