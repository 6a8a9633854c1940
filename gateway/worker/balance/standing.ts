import type { Rng } from '#kit/rng.ts';
import type { OutlierDetection } from '../../../registry/documents/types.ts';

/**
 * How one request ended at an endpoint. `connect`: no connection, or none any more before the request went out;
 * `reset`: it broke off or timed out after that; `gone`: the client left, which says nothing about the endpoint.
 */
export type Outcome = 'ok' | '5xx' | 'connect' | 'reset' | 'gone';

/** What the endpoints of one service share: how many may be out at once. */
export interface EjectionGroup {
  settings: OutlierDetection;
  /** Endpoints that the registry says take traffic. */
  size: number;
  /** How many of them are ejected now. */
  ejected: number;
  readonly rng: Rng;
}

/** After a failed connection the endpoint is left alone this long, twice as long after each further one. */
const UNREACHABLE_MS = 1_000;
const UNREACHABLE_MAX_MS = 10_000;
/** Up to this fraction is added to an ejection, so that endpoints ejected together do not come back together. */
const JITTER = 0.2;
/** A probe that has no result after this long is given up, and another one may go. */
const PROBE_PATIENCE_MS = 15_000;
/** Slack for `now - latency` where the start of a request is compared with the start of an ejection. */
const ROUNDING_MS = 0.5;

/**
 * Passive ejection of one endpoint by the outcomes of its requests.
 *
 * In → out: `consecutive` failures in a row eject it (`baseMs` × n, capped per service); a failed connection makes it
 * unreachable (1 s, doubling to 10 s, not capped: when the gateway of a VM is dead, all its endpoints must be left at once).
 * Out → in: once the time is over a single request is let through, and its outcome decides.
 *
 * Requests that started before it went out decide nothing any more: the fifty that were under way when an instance
 * died are one event, not ten ejections.
 */
export class Standing {
  readonly #group: EjectionGroup;
  /** 0: in. Else nothing goes there before this moment, and then one request. */
  #outUntilMs = 0;
  #outSinceMs = 0;
  #isProbing = false;
  #isEjected = false;
  /** In a row. */
  #failures = 0;
  /** In a row: none of them forgiven. */
  #ejections = 0;
  #ejectionMs = 0;
  /** Once it has stayed in as long as its last ejection took, the next one is a first one again. */
  #forgivenAtMs = 0;
  #unreachableMs = 0;

  constructor(group: EjectionGroup) {
    this.#group = group;
  }

  get isIn(): boolean {
    return this.#outUntilMs === 0;
  }

  get isEjected(): boolean {
    return this.#isEjected;
  }

  /** 0 when it is in. */
  get outUntilMs(): number {
    return this.#outUntilMs;
  }

  /** Out, but the time is over: one request may go there. */
  isProbeDue(nowMs: number): boolean {
    return this.#outUntilMs !== 0 && nowMs >= this.#outUntilMs;
  }

  started(nowMs: number): void {
    if (!this.isProbeDue(nowMs)) return;
    this.#isProbing = true;
    this.#outSinceMs = nowMs;
    this.#outUntilMs = nowMs + PROBE_PATIENCE_MS;
  }

  finished(nowMs: number, startedMs: number, outcome: Outcome): void {
    const counts = this.isIn || startedMs + ROUNDING_MS >= this.#outSinceMs;
    if (!counts) return;
    switch (outcome) {
      case 'ok':
        this.#succeeded(nowMs);
        break;
      case 'gone':
        // The probe was inconclusive: the next request is the probe.
        if (this.#isProbing) this.#outUntilMs = nowMs;
        this.#isProbing = false;
        break;
      case '5xx':
      case 'reset':
      case 'connect':
        this.#failed(nowMs, outcome === 'connect');
        break;
    }
  }

  /** As if it had just been registered: it has left, or its own gateway has found it well again. */
  reset(): void {
    this.#comeIn();
    this.#failures = 0;
    this.#ejections = 0;
    this.#unreachableMs = 0;
  }

  #succeeded(nowMs: number): void {
    this.#failures = 0;
    this.#unreachableMs = 0;
    if (this.isIn) return;
    if (this.#isEjected) this.#forgivenAtMs = nowMs + this.#ejectionMs;
    this.#comeIn();
  }

  #failed(nowMs: number, isConnect: boolean): void {
    // While all endpoints are out, those that are out get requests (see pickEndpoint): only a probe prolongs that.
    if (!this.isIn && !this.#isProbing) return;
    this.#failures++;
    const ejectionMs = this.#isEjected || this.#mayEject() ? this.#eject(nowMs) : 0;
    const unreachableMs = isConnect ? this.#avoid() : 0;
    const outMs = Math.max(ejectionMs, unreachableMs);
    this.#isProbing = false;
    if (outMs > 0) {
      this.#outSinceMs = nowMs;
      this.#outUntilMs = nowMs + outMs;
    } else if (!this.isIn) {
      // The probe reached what had been unreachable. Its answer was an error, which is counted.
      this.#comeIn();
    }
  }

  #mayEject(): boolean {
    const { settings, size, ejected } = this.#group;
    if (settings.consecutive === 0 || this.#failures < settings.consecutive) return false;
    return ejected < Math.max(1, Math.floor((size * settings.maxEjected) / 100));
  }

  /** Returns for how long. */
  #eject(nowMs: number): number {
    const { settings, rng } = this.#group;
    const inARow = this.#isEjected || nowMs < this.#forgivenAtMs;
    this.#ejections = inARow ? this.#ejections + 1 : 1;
    if (!this.#isEjected) this.#group.ejected++;
    this.#isEjected = true;
    this.#ejectionMs = Math.min(settings.maxMs, settings.baseMs * this.#ejections);
    return this.#ejectionMs * (1 + JITTER * rng());
  }

  /** Returns for how long. */
  #avoid(): number {
    this.#unreachableMs = Math.min(
      UNREACHABLE_MAX_MS,
      Math.max(UNREACHABLE_MS, this.#unreachableMs * 2),
    );
    return this.#unreachableMs;
  }

  #comeIn(): void {
    this.#outUntilMs = 0;
    this.#isProbing = false;
    if (this.#isEjected) this.#group.ejected--;
    this.#isEjected = false;
  }
}
