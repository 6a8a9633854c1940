import { randomFillSync } from 'node:crypto';

/**
 * Ids are made some at a time and cut from one string: an id is then a slice, not two calls into C++ and, for a
 * traceparent, four concatenations. Not more at a time: whoever keeps an id keeps the string it was cut from.
 */
const bytes = Buffer.alloc(512);
let hex = '';
let hexUsed = 0;

const TRACEPARENTS = 16;
/** `00-` 32 hex `-` 16 hex `-00` */
const TRACEPARENT_LENGTH = 55;
let traceparents = '';
let traceparentsUsed = 0;

/** `length` random digits in lower-case hex; at most 1,024. */
export function randomHex(length: number): string {
  if (hexUsed + length > hex.length) {
    randomFillSync(bytes);
    hex = bytes.hexSlice(0, bytes.length);
    hexUsed = 0;
  }
  hexUsed += length;
  return hex.slice(hexUsed - length, hexUsed);
}

/**
 * W3C Trace Context: the trace goes on under a span of ours, or a new, unsampled one starts.
 *
 * @param incoming a valid version-00 traceparent, or ''
 */
export function nextTraceparent(incoming: string): string {
  if (incoming !== '') return `${incoming.slice(0, 36)}${randomHex(16)}${incoming.slice(52)}`;
  if (traceparentsUsed === traceparents.length) {
    traceparents = '';
    for (let i = 0; i < TRACEPARENTS; i++)
      traceparents += `00-${randomHex(32)}-${randomHex(16)}-00`;
    traceparentsUsed = 0;
  }
  traceparentsUsed += TRACEPARENT_LENGTH;
  return traceparents.slice(traceparentsUsed - TRACEPARENT_LENGTH, traceparentsUsed);
}
