import { createHash } from 'node:crypto';
import { instanceKey, nodeKey } from '../../registry/documents/keys.ts';
import type {
  InstanceDocument,
  NodeDocument,
  NodeIntentDocument,
} from '../../registry/documents/types.ts';

/** One service of `services:` or `services.d/`, as far as others learn of it. */
export interface LocalInstance {
  readonly service: string;
  /** Stable over restarts, unique on this node. */
  readonly id: string;
  /** Where the service listens: `127.0.0.1:8080`. */
  readonly app: string;
  readonly protocol: InstanceDocument['protocol'];
  readonly weight: number;
  readonly meta: Readonly<Record<string, string>>;
}

export interface RegistrationInput {
  readonly node: string;
  readonly zone: string;
  readonly version: string;
  /** The advertised mesh address. */
  readonly advertise: string;
  readonly gateway: string | undefined;
  readonly instances: readonly LocalInstance[];
  /** `config/nodes/<node>`. */
  readonly intent: NodeIntentDocument | undefined;
  readonly draining: boolean;
  readonly healthOf: (id: string) => InstanceDocument['health'];
  /** Whether the service can prove who it is: without a certificate nobody gets a byte to it. */
  readonly hasIdentity: (service: string) => boolean;
}

/** What the key already says (`node`, `service`, `id`, `name`) is not written into the document. */
export type WrittenNode = Omit<NodeDocument, 'name'>;
export type WrittenInstance = Omit<InstanceDocument, 'node' | 'service' | 'id' | 'since'>;

export interface DesiredRegistration {
  readonly node: readonly [key: string, document: WrittenNode];
  readonly instances: readonly (readonly [key: string, document: WrittenInstance])[];
  /** Services that `config/nodes/<node>` does not allow here. */
  readonly refused: readonly string[];
}

/** The documents this node should have in the registry right now. Pure. */
export function desiredRegistration(input: RegistrationInput): DesiredRegistration {
  const zone = input.intent?.zone ?? input.zone;
  const allowed = input.intent?.services;
  const isAllowed = ({ service }: LocalInstance): boolean => allowed?.includes(service) ?? true;

  const instances = input.instances.filter(isAllowed).map((instance) => {
    const { app, protocol, weight, meta } = instance;
    const document: WrittenInstance = {
      address: input.advertise,
      app,
      protocol,
      weight,
      zone,
      meta,
      state: stateOf(instance, input),
      health: input.healthOf(instance.id),
    };
    return [instanceKey(input.node, instance.service, instance.id), document] as const;
  });
  const { version, gateway, advertise: address } = input;
  return {
    node: [
      nodeKey(input.node),
      { address, zone, version, ...(gateway === undefined ? {} : { gateway }) },
    ],
    instances,
    refused: input.instances.filter((instance) => !isAllowed(instance)).map((i) => i.service),
  };
}

function stateOf({ service }: LocalInstance, input: RegistrationInput): InstanceDocument['state'] {
  if (input.draining) return 'draining';
  if (input.intent?.maintenance === true) return 'maintenance';
  return input.hasIdentity(service) ? 'ready' : 'starting';
}

const LONGEST_NAME = 63;

/** `<node>-<service>-<port>`; a longer one than a name may be ends in a hash of the whole. */
export function instanceId(node: string, service: string, port: number): string {
  const id = `${node}-${service}-${port}`;
  if (id.length <= LONGEST_NAME) return id;
  const hash = createHash('sha256').update(id).digest('hex').slice(0, 12);
  return `${id.slice(0, LONGEST_NAME - hash.length - 1)}-${hash}`;
}
