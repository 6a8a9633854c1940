import { isDeepStrictEqual } from 'node:util';
import type { Address } from '#kit/address.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import type { Rng } from '#kit/rng.ts';
import type { Check } from '../../registry/documents/types.ts';
import type { Probe } from './probe.ts';
import { nextProbeMs, observe, UNKNOWN, type Health } from './state.ts';

export interface ProbeTarget {
  readonly id: string;
  readonly address: Address;
  readonly check: Check;
}

export interface ProbedHealth {
  readonly health: Health['state'];
  /** What the last probe met, when it failed. */
  readonly lastError: string | undefined;
}

interface Probed {
  readonly target: ProbeTarget;
  health: Health;
  lastError: string | undefined;
  cancel: Cancel;
  removed: boolean;
}

export interface ProberOptions {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly probe: Probe;
  /** Its health changed: unknown, passing or failing, never the same twice in a row. */
  readonly onChange: (target: ProbeTarget, now: ProbedHealth) => void;
}

/** Asks each target again and again; the rules are in state.ts, the sockets in probe.ts. */
export class Prober {
  readonly #options: ProberOptions;
  readonly #probed = new Map<string, Probed>();

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /** The targets from now on. One that stays as it was keeps its health; a changed one starts as unknown. */
  setTargets(targets: readonly ProbeTarget[]): void {
    const wanted = new Map(targets.map((target) => [target.id, target]));
    for (const [id, probed] of this.#probed) {
      if (isDeepStrictEqual(wanted.get(id), probed.target)) continue;
      probed.removed = true;
      probed.cancel();
      this.#probed.delete(id);
    }
    for (const target of targets) {
      if (this.#probed.has(target.id)) continue;
      const probed: Probed = {
        target,
        health: UNKNOWN,
        lastError: undefined,
        cancel: () => {},
        removed: false,
      };
      this.#probed.set(target.id, probed);
      void this.#run(probed);
    }
  }

  /** `unknown` for an id that is not a target. */
  healthOf(id: string): ProbedHealth {
    const probed = this.#probed.get(id);
    return { health: probed?.health.state ?? 'unknown', lastError: probed?.lastError };
  }

  stop(): void {
    this.setTargets([]);
  }

  async #run(probed: Probed): Promise<void> {
    const { clock, rng, probe, onChange } = this.#options;
    const { target } = probed;
    const problem = await probe(target.address, target.check);
    if (probed.removed) return;
    const before = probed.health;
    probed.health = observe(before, problem === undefined, target.check);
    probed.lastError = problem;
    const waitMs = nextProbeMs(probed.health, target.check.intervalMs, rng());
    probed.cancel = clock.after(waitMs, () => void this.#run(probed));
    if (probed.health.state !== before.state) onChange(target, this.healthOf(target.id));
  }
}
