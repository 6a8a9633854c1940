import type { ServerSessionOptions } from 'node:http2';
import { MAX_FIELDS, MAX_HEAD_BYTES } from '../codec/limits.ts';

/** Requests a client may have under way on one connection. */
export const MAX_STREAMS = 128;
/** Bytes of one body that may be under way unread: with MAX_STREAMS a client can hold at most 16 MiB. */
export const WINDOW_BYTES = 131_072;
/** Of a whole connection; given back as bytes arrive, so that it never holds a stream back for another. */
export const CONNECTION_WINDOW_BYTES = 1_048_576;

/** What a client may do to us over HTTP/2; the rest of the bounds is in h2-server.ts. */
export const SERVER_OPTIONS: ServerSessionOptions = {
  settings: {
    enablePush: false,
    maxConcurrentStreams: MAX_STREAMS,
    initialWindowSize: WINDOW_BYTES,
    maxHeaderListSize: MAX_HEAD_BYTES,
  },
  // The four pseudo-header fields come on top.
  maxHeaderListPairs: MAX_FIELDS + 4,
  maxSettings: 16,
  maxSessionInvalidFrames: 100,
  maxSessionRejectedStreams: 100,
  // CVE-2023-44487: opening and resetting streams costs the client nothing.
  streamResetBurst: 100,
  streamResetRate: 20,
  // Duplicates are for our codec to judge; Node would throw where a field came twice.
  strictSingleValueFields: false,
};
