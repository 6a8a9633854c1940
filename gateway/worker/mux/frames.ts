/**
 * The wire format of `gatemesh/1`, the transport between two gateways: frames of many streams on one
 * mTLS 1.3 connection. Each frame is 8 bytes and a payload, numbers big-endian:
 *
 *     length of the payload (24 bit) · flags (4 bit) and type (4 bit) · stream (32 bit)
 *
 * | type | payload |
 * | --- | --- |
 * | SETTINGS | version, most streams at once, initial window: 3 × u32; the callee's first frame |
 * | HEAD | u24 length of the head, the head (HTTP/1.1 start line and fields, no empty line), first body bytes |
 * | DATA | body bytes, as they are: chunked coding stays on the HTTP/1.1 legs |
 * | END | trailer lines |
 * | RESET | u8 reason |
 * | WINDOW | u32 bytes the receiver has passed on and can take again |
 * | PING | u32, returned with flag ACK |
 * | GOAWAY | u32 last stream that was or will be served |
 *
 * Only the caller opens streams, numbered upwards. Flag END on HEAD or DATA ends the sender's half.
 */
export const TYPE = {
  settings: 0,
  head: 1,
  data: 2,
  end: 3,
  reset: 4,
  window: 5,
  ping: 6,
  goaway: 7,
} as const;

export const FLAG_END = 0x10;
export const FLAG_ACK = 0x10;
export const FRAME_HEADER_BYTES = 8;
export const PROTOCOL = 'gatemesh/1';
export const VERSION = 1;

/** Body bytes per DATA frame, so that a big body leaves gaps for the small ones. */
export const MAX_DATA_BYTES = 16_384;
/** A head of 64 KiB and what the gateways add to it, plus the first body bytes. */
export const MAX_PAYLOAD_BYTES = 98_304;
/**
 * Bytes of one stream that may be under way unacknowledged: all that a stalled reader can make its
 * gateway hold. With MAX_STREAMS a peer can hold at most 64 MiB per connection.
 */
export const WINDOW_BYTES = 131_072;
export const MAX_STREAMS = 512;

/** Why a stream was reset; what the caller may conclude from it. */
export const RESET = {
  /** The answer is whole, the rest of the request is not wanted. */
  done: 0,
  /** The caller does not want the answer any more. */
  cancelled: 1,
  /** Not taken: nothing reached a service. */
  refused: 2,
  /** The instance could not be reached: nothing was sent. */
  connect: 3,
  /** The instance closed or sent something that is not HTTP. */
  closed: 4,
  timeout: 5,
  /** The peer broke this protocol or HTTP. */
  protocol: 6,
} as const;

/** A peer that breaks the protocol: the connection ends. */
export class MuxError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'MuxError';
  }
}
