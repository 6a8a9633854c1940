import type { Known } from './documents/references.ts';
import type { GatewayListener, TypedDocument } from './documents/types.ts';

const NONE: ReadonlySet<string> = new Set();

/** The names a document may point at, kept up to date one document at a time. */
export class KnownNames implements Known {
  /** Only grows: a service whose last instance left is still a service. */
  readonly services: Set<string>;
  readonly gateways = new Set<string>();
  readonly certificates = new Set<string>();
  readonly #listeners = new Map<string, readonly GatewayListener[]>();
  readonly #subsets = new Map<string, ReadonlySet<string>>();

  readonly isRejected: (key: string) => boolean;

  /**
   * @param services names known from an earlier run
   * @param isRejected whether a document lies under the key and is refused as it stands
   */
  constructor(services: Iterable<string>, isRejected: (key: string) => boolean) {
    this.services = new Set(services);
    this.isRejected = isRejected;
  }

  subsets(service: string): ReadonlySet<string> {
    return this.#subsets.get(service) ?? NONE;
  }

  listeners(gateway: string): readonly GatewayListener[] | undefined {
    return this.#listeners.get(gateway);
  }

  /** True when a document that points at something may now be right where it was wrong before. */
  add({ kind, document }: TypedDocument): boolean {
    switch (kind) {
      case 'services':
        this.services.add(document.name);
        this.#subsets.set(document.name, new Set(Object.keys(document.subsets)));
        return true;
      case 'instances':
        return grows(this.services, document.service);
      case 'gateways':
        this.gateways.add(document.name);
        this.#listeners.set(document.name, document.listeners);
        return true;
      case 'certificates':
        return grows(this.certificates, document.name);
      case 'mesh':
      case 'routes':
      case 'tcp-routes':
      case 'intentions':
      case 'node-intents':
      case 'nodes':
        return false;
    }
  }

  remove({ kind, document }: TypedDocument): void {
    if (kind === 'services') this.#subsets.delete(document.name);
    if (kind === 'gateways') {
      this.gateways.delete(document.name);
      this.#listeners.delete(document.name);
    }
    if (kind === 'certificates') this.certificates.delete(document.name);
  }
}

function grows(names: Set<string>, name: string): boolean {
  const before = names.size;
  return names.add(name).size > before;
}
