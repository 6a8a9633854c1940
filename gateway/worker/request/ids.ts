import { randomFillSync } from 'node:crypto';

/** Random bytes fetched 16 KiB at a time: one call into OpenSSL per thousand ids instead of one per id. */
const pool = Buffer.alloc(16_384);
let used = pool.length;

/** `bytes` random bytes as lower-case hex. */
export function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.hexSlice(used - bytes, used);
}

/**
 * W3C Trace Context: the trace goes on under a span of ours, or a new, unsampled one starts.
 *
 * @param incoming a valid version-00 traceparent, or ''
 */
export function nextTraceparent(incoming: string): string {
  if (incoming === '') return `00-${randomHex(16)}-${randomHex(8)}-00`;
  return `${incoming.slice(0, 36)}${randomHex(8)}${incoming.slice(52)}`;
}
