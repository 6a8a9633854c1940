import { EXIT, MeshError } from '#kit/errors.ts';
import { nearest } from '#kit/nearest.ts';
import type { Problem } from '#kit/problem.ts';
import type { DocumentKind } from './types.ts';

/** The only file that knows how keys are built. All keys are relative to the store's prefix (`/gatemesh/v1`). */

export const CONFIG_PREFIX = 'config/';
export const NODES_PREFIX = 'nodes/';
export const STATUS_PREFIX = 'status/';

/** Kinds people write, with the folder under `config/` that holds them; `mesh` is a single key. */
const CONFIG_FOLDERS = {
  services: 'services',
  routes: 'routes',
  'tcp-routes': 'tcp-routes',
  intentions: 'intentions',
  gateways: 'gateways',
  certificates: 'certificates',
  'node-intents': 'nodes',
} as const satisfies Partial<Record<DocumentKind, string>>;

export type NamedConfigKind = keyof typeof CONFIG_FOLDERS;
export type ConfigKind = 'mesh' | NamedConfigKind;

/** Folders of the target key space that no part of this version reads. */
const LATER_FOLDERS: readonly string[] = ['policies'];

const NAMED_KINDS = Object.keys(CONFIG_FOLDERS) as NamedConfigKind[];
export const CONFIG_KINDS: readonly ConfigKind[] = ['mesh', ...NAMED_KINDS];

export const NAME_PATTERN = /^[a-z0-9](?:[-a-z0-9.]{0,61}[a-z0-9])?$/;
export const NAME_WANTED =
  'a name of at most 63 lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit';

export function isName(text: string): boolean {
  return NAME_PATTERN.test(text);
}

/** `routes`, and `nodes` for `node-intents`. */
export function folderOf(kind: NamedConfigKind): string {
  return CONFIG_FOLDERS[kind];
}

/** What a key says about the document under it. */
export type Key =
  | { readonly kind: ConfigKind | 'nodes' | 'status'; readonly name: string }
  | {
      readonly kind: 'instances';
      readonly name: string;
      readonly node: string;
      readonly service: string;
    };

/** `config/mesh`, `config/routes/shop`, `config/nodes/vm-a`. @throws MeshError `name_invalid` */
export function configKey(kind: ConfigKind, name: string): string {
  if (kind === 'mesh') return `${CONFIG_PREFIX}mesh`;
  const folder = CONFIG_FOLDERS[kind];
  if (!(kind === 'intentions' && name === '*')) checkName(folder, name);
  return `${CONFIG_PREFIX}${folder}/${name}`;
}

/** `nodes/vm-a`. @throws MeshError `name_invalid` */
export function nodeKey(node: string): string {
  return `${NODES_PREFIX}${checkName('nodes', node)}`;
}

/** `nodes/vm-a/instances/orders/orders-1`. @throws MeshError `name_invalid` */
export function instanceKey(node: string, service: string, id: string): string {
  return `${nodeKey(node)}/instances/${checkName('services', service)}/${checkName('instances', id)}`;
}

/** `status/vm-a`. @throws MeshError `name_invalid` */
export function statusKey(node: string): string {
  return `${STATUS_PREFIX}${checkName('status', node)}`;
}

function checkName(what: string, name: string): string {
  if (isName(name)) return name;
  throw new MeshError(
    'name_invalid',
    `${what}: wanted ${NAME_WANTED}; got ${JSON.stringify(name)}`,
    {
      exitCode: EXIT.usage,
    },
  );
}

/** What kind of document a key holds; undefined when it is none of ours (`keyProblem` says why). */
export function classify(key: string): Key | undefined {
  const parts = key.split('/');
  const [top, second, third, service, id] = parts;
  if (top === 'config' && parts.length === 2 && second === 'mesh') {
    return { kind: 'mesh', name: 'mesh' };
  }
  if (top === 'config' && parts.length === 3) {
    const kind = NAMED_KINDS.find((named) => CONFIG_FOLDERS[named] === second);
    const name = third!;
    if (kind === undefined) return undefined;
    return isName(name) || (kind === 'intentions' && name === '*') ? { kind, name } : undefined;
  }
  if (second === undefined || !isName(second)) return undefined;
  if (parts.length === 2 && (top === 'nodes' || top === 'status')) {
    return { kind: top, name: second };
  }
  if (top === 'nodes' && parts.length === 5 && third === 'instances') {
    if (!isName(service!) || !isName(id!)) return undefined;
    return { kind: 'instances', name: id!, node: second, service: service! };
  }
  return undefined;
}

const KEY_WANTED =
  'config/mesh, config/<kind>/<name> with a kind of ' +
  `${Object.values(CONFIG_FOLDERS).join(', ')}, nodes/<node>, nodes/<node>/instances/<service>/<id> or status/<node>`;

/** Why `classify` does not know a key, with the key that was probably meant. */
export function keyProblem(key: string): Problem {
  const got = `the key ${JSON.stringify(key)}`;
  const [top, folder, ...rest] = key.split('/');
  if (top !== 'config' || folder === undefined) return { path: '$', wanted: KEY_WANTED, got };
  if (LATER_FOLDERS.includes(folder)) {
    return { path: '$', wanted: KEY_WANTED, got: `${got}, which is not supported by this version` };
  }
  const folders: readonly string[] = Object.values(CONFIG_FOLDERS);
  if (folders.includes(folder)) {
    const what = rest.length === 1 ? NAME_WANTED : 'one name after the kind';
    return { path: '$', wanted: `config/${folder}/<name>: ${what}`, got };
  }
  const near = nearest(folder, rest.length === 0 ? ['mesh'] : folders);
  if (near === undefined) return { path: '$', wanted: KEY_WANTED, got };
  return { path: '$', wanted: KEY_WANTED, got, hint: ['config', near, ...rest].join('/') };
}

/** The kind a person names on the command line: `routes`, `route`, `nodes`, `node-intents`. */
export function kindFromWord(word: string): ConfigKind | undefined {
  return CONFIG_KINDS.find((kind) => {
    const folder = kind === 'mesh' ? 'mesh' : CONFIG_FOLDERS[kind];
    return word === kind || word === folder || `${word}s` === folder;
  });
}
