import type { InstanceDocument } from '../../../registry/documents/types.ts';
import { peakEwma } from './ewma.ts';
import { Standing, type EjectionGroup, type Outcome } from './standing.ts';

/**
 * One registered instance as this worker sees it. Lives as long as its registry key and the addresses in it: new weights,
 * health or metadata change `instance` and keep what was learnt (latency, ejection, connections).
 */
export class Endpoint {
  /** Registry key, relative to the prefix. */
  readonly key: string;
  readonly service: string;
  readonly node: string;
  readonly standing: Standing;
  /** Of the data path: its connections to this endpoint. */
  upstream: unknown = undefined;
  /** Requests started and not finished. */
  inFlight = 0;
  /** Peak-EWMA of the time to the response's head; 0 before the first answer. */
  latencyMs = 0;
  sampledAtMs = 0;
  #instance: InstanceDocument;
  #hindrance: string | undefined;

  /** @param hindrance see `update` */
  constructor(
    key: string,
    instance: InstanceDocument,
    hindrance: string | undefined,
    group: EjectionGroup,
  ) {
    this.key = key;
    this.service = instance.service;
    this.node = instance.node;
    this.standing = new Standing(group);
    this.#instance = instance;
    this.#hindrance = hindrance;
  }

  get instance(): InstanceDocument {
    return this.#instance;
  }

  /** What in the registry keeps requests away; undefined when nothing does. */
  get hindrance(): string | undefined {
    return this.#hindrance;
  }

  get weight(): number {
    return this.#instance.weight;
  }

  update(instance: InstanceDocument, hindrance: string | undefined): void {
    this.#instance = instance;
    this.#hindrance = hindrance;
  }

  /** Right after the pick, in the same turn: that is how a second request does not become a second probe. */
  started(nowMs: number): void {
    this.inFlight++;
    this.standing.started(nowMs);
  }

  /** Instead of `finished`, for a stream that stays open: its end (`closed`) may be hours away, and says nothing. */
  opened(nowMs: number, latencyMs: number): void {
    this.#sample(nowMs, latencyMs);
    this.standing.finished(nowMs, nowMs - latencyMs, 'ok');
  }

  /**
   * Exactly once after `started`, unless it was `opened`.
   *
   * @param latencyMs from `started` to the response's head, or to the failure: not to the end of a long body
   */
  finished(nowMs: number, latencyMs: number, outcome: Outcome): void {
    this.inFlight--;
    // A refusal within 1 ms must not look like a fast answer: what failed can only make it look slower.
    if (outcome === 'ok' || latencyMs > this.latencyMs) this.#sample(nowMs, latencyMs);
    this.standing.finished(nowMs, nowMs - latencyMs, outcome);
  }

  /** Exactly once after `opened`. */
  closed(): void {
    this.inFlight--;
  }

  #sample(nowMs: number, latencyMs: number): void {
    this.latencyMs = peakEwma(this.latencyMs, latencyMs, nowMs - this.sampledAtMs);
    this.sampledAtMs = nowMs;
  }
}
