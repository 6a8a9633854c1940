/** A token bucket per key (RFC 2697 in spirit): `burst` at once, `perSecond` sustained. Pure: time is an argument. */
export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #buckets = new Map<string, { level: number; atMs: number }>();

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
  }

  /** True when one more is admitted. @param nowMs monotonic */
  take(key: string, nowMs: number): boolean {
    const bucket = this.#buckets.get(key) ?? { level: this.#burst, atMs: nowMs };
    const refilled = bucket.level + ((nowMs - bucket.atMs) / 1000) * this.#perSecond;
    bucket.level = Math.min(this.#burst, refilled);
    bucket.atMs = nowMs;
    // Moved to the end, so that the key that was quiet longest is the first to be forgotten.
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > MAX_KEYS) this.#buckets.delete(this.#buckets.keys().next().value!);
    if (bucket.level < 1) return false;
    bucket.level -= 1;
    return true;
  }
}

const MAX_KEYS = 10_000;
