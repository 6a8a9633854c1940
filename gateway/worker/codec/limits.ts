/** Request line and fields together; past it 431. nginx allows 4 × 8 KiB, HAProxy 16 KiB, Envoy 60 KiB. */
export const MAX_HEAD_BYTES = 65_536;
/** Fields in one head; past it 431. */
export const MAX_FIELDS = 128;
/** Past it 414. */
export const MAX_TARGET_BYTES = 16_384;
/** A trailer section; past it the message is refused. */
export const MAX_TRAILER_BYTES = 8_192;
/** Chunk extensions carry nothing anybody uses and were a way to make a server read for ever (CVE-2024-22019). */
export const MAX_CHUNK_LINE_BYTES = 256;
