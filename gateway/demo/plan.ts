import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { Address } from '#kit/address.ts';

/**
 * The mesh of the demo: three "VMs", each a loopback address of its own with the ports a real VM
 * would use, so that what is printed can be typed and what is typed carries over to real machines.
 */
export interface DemoNode {
  readonly name: string;
  readonly host: string;
  readonly services: readonly DemoService[];
  /** Services that call others from this node, each with the egress port that speaks for it. */
  readonly callers: readonly { readonly service: string; readonly port: number }[];
  /** Name of the edge gateway it runs. */
  readonly edge?: string;
}

export interface DemoService {
  readonly service: string;
  readonly version: string;
  readonly port: number;
  readonly calls?: readonly string[];
}

export const PORTS = {
  admin: 15_000,
  egress: 15_001,
  webEgress: 15_002,
  mesh: 15_443,
  ca: 15_444,
  edge: 8_080,
} as const;

export const TRUST_DOMAIN = 'mesh.internal';
export const EDGE = 'public';
export const CA: Address = { host: '127.0.1.1', port: PORTS.ca };

export const NODES: readonly DemoNode[] = [
  {
    name: 'vm-a',
    host: '127.0.1.1',
    services: [{ service: 'web', version: '1', port: 8_081, calls: ['orders', 'payments'] }],
    callers: [{ service: 'web', port: PORTS.webEgress }],
    edge: EDGE,
  },
  {
    name: 'vm-b',
    host: '127.0.1.2',
    services: [{ service: 'orders', version: '1', port: 8_081 }],
    callers: [],
  },
  {
    name: 'vm-c',
    host: '127.0.1.3',
    services: [
      { service: 'orders', version: '2', port: 8_081 },
      { service: 'payments', version: '1', port: 8_082 },
    ],
    callers: [],
  },
];

export const VM_A = NODES[0]!;
export const EDGE_ADDRESS: Address = { host: VM_A.host, port: PORTS.edge };
/** Where `web` calls the other services: whatever comes in here is `web` calling. */
export const WEB_EGRESS: Address = { host: VM_A.host, port: PORTS.webEgress };

/** The command as a process to start; it finds its own Node. */
export const GATEMESH = fileURLToPath(new URL('../gatemesh', import.meta.url));

/** Every address the demo listens on, with what it is for. */
export function listeners(): readonly { readonly address: Address; readonly what: string }[] {
  return [
    { address: CA, what: 'the CA' },
    { address: EDGE_ADDRESS, what: 'the edge gateway' },
    ...NODES.flatMap(({ name, host, services, callers }) => [
      { address: { host, port: PORTS.admin }, what: `the admin page of ${name}` },
      { address: { host, port: PORTS.egress }, what: `the egress listener of ${name}` },
      { address: { host, port: PORTS.mesh }, what: `the mesh port of ${name}` },
      ...callers.map(({ service, port }) => ({
        address: { host, port },
        what: `the egress listener of ${service}`,
      })),
      ...services.map(({ service, version, port }) => ({
        address: { host, port },
        what: `the sample service ${service} v${version}`,
      })),
    ]),
  ];
}

/** The object under `registry:` in the gateways' files. */
export type RegistryChoice =
  | { readonly embedded: { readonly file: string } }
  | { readonly etcd: { readonly endpoints: readonly string[]; readonly prefix: string } };

/** The text of a node's `gateway.yaml`. */
export function gatewayFile(
  node: DemoNode,
  place: {
    readonly folder: string;
    readonly registry: RegistryChoice;
    readonly caFingerprint: string;
    readonly tokenFile: string;
  },
): string {
  return stringify({
    node: node.name,
    zone: 'demo',
    dataDir: `${place.folder}/data`,
    registry: place.registry,
    identity: {
      ca: `https://${CA.host}:${CA.port}`,
      caFingerprint: place.caFingerprint,
      tokenFile: place.tokenFile,
    },
    mesh: { listen: `${node.host}:${PORTS.mesh}`, advertise: `${node.host}:${PORTS.mesh}` },
    egress: {
      listen: `${node.host}:${PORTS.egress}`,
      listeners: node.callers.map(({ service, port }) => ({
        listen: `${node.host}:${port}`,
        as: service,
      })),
    },
    admin: { listen: `${node.host}:${PORTS.admin}`, socket: `${place.folder}/admin.sock` },
    ...(node.edge === undefined ? {} : { gateway: node.edge }),
  });
}

/** The text of a service's file in `services.d/`. */
export function serviceFile(host: string, { service, version, port }: DemoService): string {
  return stringify({
    service,
    address: `${host}:${port}`,
    protocol: 'http',
    meta: { version },
    // Faster than the defaults, so that nobody waits for the story to go on.
    check: { http: '/healthz', interval: '500ms', timeout: '400ms', rise: 2, fall: 2 },
  });
}

/** What the demo puts under `config/`: key relative to the prefix, and the document as a person would type it. */
export const DOCUMENTS = {
  edge: {
    key: `config/gateways/${EDGE}`,
    value: JSON.stringify({
      listeners: [{ port: PORTS.edge, address: EDGE_ADDRESS.host, protocol: 'http' }],
    }),
  },
  orders: {
    key: 'config/services/orders',
    value: JSON.stringify({
      subsets: { v1: { version: '1' }, v2: { version: '2' } },
      timeout: '3s',
    }),
  },
  shop: {
    key: 'config/routes/shop',
    value: JSON.stringify({ host: '*', gateways: [EDGE], to: 'web' }),
  },
} as const;

export const CANARY_KEY = 'config/routes/orders-canary';

/** The route that divides the requests for `orders` between its versions. */
export function canary(v1: number, v2: number, weight = 'weight'): string {
  return JSON.stringify({
    host: 'orders.mesh',
    to: [
      { service: 'orders', subset: 'v1', [weight]: v1 },
      { service: 'orders', subset: 'v2', [weight]: v2 },
    ],
  });
}
