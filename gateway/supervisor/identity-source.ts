import type { Cancel } from '#kit/clock.ts';
import type { Identity, IdentityMaterial } from '../../ca/identity.ts';

/** Where a gateway's certificates come from: kept by renewing them (`IdentityKeeper`), or put there by others (`IdentityFiles`). */
export interface IdentitySource {
  /** Replaces the set of identities this gateway needs: its node, its services, its edge gateway. */
  setWanted(identities: readonly Identity[]): void;
  /** Takes what is on disk at once; never waits for the authority. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Only certificates that are valid now; undefined before there is a first one. */
  readonly material: IdentityMaterial | undefined;
  /** Called with each new material, and at once when there is one. */
  onMaterial(listener: (material: IdentityMaterial) => void): Cancel;
  /** One per wanted identity. */
  readonly state: readonly IdentityState[];
}

/** How one identity is doing, for status, readiness and alarms. */
export interface IdentityState {
  /** SPIFFE id. */
  readonly identity: string;
  /** `missing`: no certificate. `urgent`: less than a quarter of its life is left and it was not renewed. */
  readonly status: 'missing' | 'fresh' | 'due' | 'urgent' | 'expired';
  /** Unix ms. */
  readonly notBeforeMs: number | undefined;
  /** Unix ms. */
  readonly notAfterMs: number | undefined;
  /** Unix ms; undefined when nobody renews it here. */
  readonly nextRenewalMs: number | undefined;
  /** Why there is no newer certificate, for people. */
  readonly lastError: string | undefined;
  /** The same as a MeshError's code. */
  readonly lastErrorCode: string | undefined;
}

/** Hands the newest material to those who asked, and remembers it for those who come later. */
export class MaterialFeed {
  #material: IdentityMaterial | undefined;
  readonly #listeners = new Set<(material: IdentityMaterial) => void>();

  get material(): IdentityMaterial | undefined {
    return this.#material;
  }

  publish(material: IdentityMaterial): void {
    if (sameMaterial(this.#material, material)) return;
    this.#material = material;
    for (const listener of this.#listeners) listener(material);
  }

  subscribe(listener: (material: IdentityMaterial) => void): Cancel {
    this.#listeners.add(listener);
    if (this.#material !== undefined) listener(this.#material);
    return () => void this.#listeners.delete(listener);
  }
}

function sameMaterial(a: IdentityMaterial | undefined, b: IdentityMaterial): boolean {
  return (
    a !== undefined &&
    a.svids.size === b.svids.size &&
    Array.from(b.svids).every(
      ([identity, svid]) => a.svids.get(identity)?.serial === svid.serial,
    ) &&
    a.bundle.rootsPem.join('') === b.bundle.rootsPem.join('')
  );
}
