/**
 * How fast an old latency is forgotten. linkerd2-proxy and Finagle take 10 s, for fleets; with two or three instances
 * and a few requests a second one slow answer (a cold start, a pause) then keeps an instance without
 * requests for half a minute, while asking a really slow one again every few seconds costs next to nothing.
 */
export const DECAY_MS = 3_000;

/**
 * Added to both sides of a comparison: what differs by less is the network's and the scheduler's doing, not the
 * endpoint's. Without it a service in 2 ms beside one in 1 ms gets a tenth of its share.
 */
const NOISE_MS = 5;

/**
 * Peak-EWMA after one more sample (Finagle `PeakEwma`): a slower answer counts at once and whole, faster ones win it back
 * over DECAY_MS. So an endpoint that stalls loses its traffic after one answer and not after dozens.
 *
 * @param latencyMs so far; 0 before the first sample, which then counts whole
 */
export function peakEwma(latencyMs: number, sampleMs: number, elapsedMs: number): number {
  if (latencyMs === 0 || sampleMs >= latencyMs) return sampleMs;
  const kept = Math.exp(-elapsedMs / DECAY_MS);
  return latencyMs * kept + sampleMs * (1 - kept);
}

/**
 * How many times slower the first is than the second. Age pulls the ratio towards 1 and never past it: what was slow is tried
 * again some time after its last answer, and of two that are alike the one asked less often does not look the faster.
 * 1 while one of them has not answered yet: a newcomer is judged by its load alone, not by a guess.
 */
export function latencyRatio(
  latencyMs: number,
  sampledAtMs: number,
  otherMs: number,
  otherSampledAtMs: number,
): number {
  if (latencyMs === 0 || otherMs === 0) return 1;
  const measured = (latencyMs + NOISE_MS) / (otherMs + NOISE_MS);
  if (sampledAtMs === otherSampledAtMs) return measured;
  const aged = measured * Math.exp((sampledAtMs - otherSampledAtMs) / DECAY_MS);
  return measured > 1
    ? Math.max(1, Math.min(measured, aged))
    : Math.min(1, Math.max(measured, aged));
}
