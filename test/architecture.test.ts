import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, it } from 'node:test';

const ROOT = resolve(import.meta.dirname, '..');

/**
 * Every room of the source, lowest layer first. A file may import from its own room and from rooms of lower layers;
 * rooms of one layer do not know each other. So there are no cycles between rooms. The narrowest path wins.
 */
const LAYERS: readonly (readonly string[])[] = [
  ['registry/kit'],
  ['registry/documents'],
  ['registry'],
  ['ca'],
  // What the parts of the gateway say to each other.
  ['gateway/ipc.ts', 'gateway/version.ts'],
  ['gateway/config'],
  ['gateway/config.ts', 'gateway/admin'],
  ['gateway/cli'],
  // Health and balance never import each other; whoever composes them connects them.
  ['gateway/worker/codec', 'gateway/worker/balance', 'gateway/health'],
  ['gateway/worker/loans.ts', 'gateway/worker/routing'],
  [
    'gateway/worker/tables.ts',
    'gateway/worker/identities.ts',
    'gateway/worker/roster.ts',
    'gateway/worker/sockets.ts',
    'gateway/worker/wire.ts',
  ],
  // What a request wants of its two sides, and how both say what went wrong.
  ['gateway/worker/request/ports.ts'],
  ['gateway/worker/request/failures.ts'],
  ['gateway/worker/mux'],
  ['gateway/worker/upstream', 'gateway/worker/resilience'],
  ['gateway/worker/request'],
  // The accepting side of the mux is a listener as far as requests are concerned.
  ['gateway/worker/mux/server.ts'],
  ['gateway/worker/listeners'],
  ['gateway/worker', 'gateway/supervisor', 'gateway/demo'],
  ['gateway/joining.ts'],
  ['gateway/app.ts'],
  // The loop around the app: signals, reload, exit code.
  ['gateway/run.ts'],
  ['gateway/main.ts'],
];

/**
 * In here `import type` may point upwards: a connection and the request it carries name each other's types,
 * and nothing of that is left at run time. Pure rooms are held to the direction all the same.
 */
const MAY_NAME_TYPES_ABOVE = 'gateway/worker';

/** What the gateway may take from ca/. */
const CA_FOR_GATEWAY = new Set(['ca/client.ts', 'ca/identity.ts', 'ca/local.ts']);

/** Rules without clock, randomness, timers or sockets: all of that comes in as arguments. */
const PURE = [
  'registry/documents',
  'gateway/worker/routing',
  'gateway/worker/balance',
  'gateway/health/state.ts',
  'ca/policy.ts',
  'ca/renewal.ts',
];
const IMPURE_MODULES =
  /^(?:node:(?:timers|process|perf_hooks|fs|child_process|cluster|dgram|dns|http|http2|https|os|tls|worker_threads)\b|#kit\/clock\.ts$)/;

const LONGEST_FILE_LINES = 450;

/** Not ours, or not committed. */
const SKIPPED = new Set(['node_modules', '.git', 'coverage', '.tmp']);

const files = walk('.');
const sources = files.filter((file) => /^(?:registry|ca|gateway)\/.*\.ts$/.test(file));

function walk(folder: string): readonly string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (SKIPPED.has(entry.name)) return [];
    if (entry.isDirectory()) return walk(path);
    return entry.isFile() && !entry.name.endsWith('.log') ? [path] : [];
  });
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

interface Import {
  readonly file: string;
  readonly specifier: string;
  readonly isTypeOnly: boolean;
  /** Path from the root of a relative or #kit import; undefined for packages and node:. */
  readonly to: string | undefined;
}

function importsOf(file: string): readonly Import[] {
  const statement =
    /(?:^|;)\s*(?:import|export)\b(\s+type\b)?[^'"`;]*?\bfrom\s+'([^']+)'|(?:^|;)\s*import\s+'([^']+)'|\bimport\(\s*'([^']+)'/gm;
  return Array.from(read(file).matchAll(statement), ([, type, from, bare, dynamic]) => {
    const specifier = from ?? bare ?? dynamic!;
    return { file, specifier, isTypeOnly: type !== undefined, to: resolveImport(file, specifier) };
  });
}

function resolveImport(file: string, specifier: string): string | undefined {
  if (specifier.startsWith('#kit/')) return specifier.replace('#kit/', 'registry/kit/');
  if (!specifier.startsWith('.')) return undefined;
  return relative(ROOT, resolve(ROOT, dirname(file), specifier));
}

function isIn(file: string, room: string): boolean {
  return file === room || file.startsWith(`${room}/`);
}

function roomOf(file: string): { readonly room: string; readonly layer: number } | undefined {
  return LAYERS.flatMap((rooms, layer) => rooms.map((room) => ({ room, layer })))
    .filter(({ room }) => isIn(file, room))
    .toSorted((a, b) => b.room.length - a.room.length)[0];
}

function none(problems: readonly string[], rule: string): void {
  if (problems.length > 0) assert.fail(`${rule}:\n  ${problems.join('\n  ')}`);
}

describe('imports', () => {
  const edges = sources.flatMap(importsOf);
  const isPure = (file: string): boolean => PURE.some((room) => isIn(file, room));

  it('are found at all', () => {
    assert.ok(edges.some(({ to }) => to !== undefined));
  });

  it('belong to a room that is on the list', () => {
    const homeless = sources.filter((file) => roomOf(file) === undefined);
    none(homeless, 'files of no room; give their folder its place in LAYERS of this test');
  });

  it('point to a lower layer or stay in their room', () => {
    const problems = edges.flatMap(({ file, to, isTypeOnly }) => {
      const from = roomOf(file);
      const target = to === undefined ? undefined : roomOf(to);
      if (from === undefined || target === undefined || from.room === target.room) return [];
      if (target.layer < from.layer) return [];
      const isInside = isIn(file, MAY_NAME_TYPES_ABOVE) && isIn(to!, MAY_NAME_TYPES_ABOVE);
      if (isTypeOnly && isInside && !isPure(file)) return [];
      const why = target.layer === from.layer ? 'are of one layer' : 'points upwards';
      return [`${file} imports ${to}: ${from.room} -> ${target.room} ${why}`];
    });
    none(problems, 'imports against the direction (see LAYERS in this test)');
  });

  it('of the sources stay among the sources', () => {
    const problems = edges.flatMap(({ file, to }) =>
      to === undefined || to === 'package.json' || roomOf(to) !== undefined
        ? []
        : [`${file} imports ${to}`],
    );
    none(problems, 'the product must not depend on test/ or on tools');
  });

  it('take of ca/ only what the gateway may know', () => {
    const problems = edges.flatMap(({ file, to }) => {
      if (!isIn(file, 'gateway') || to === undefined || !isIn(to, 'ca')) return [];
      if (CA_FOR_GATEWAY.has(to) || (file === 'gateway/main.ts' && to === 'ca/cli.ts')) return [];
      return [`${file} imports ${to}`];
    });
    none(problems, `the gateway takes of ca/ only ${[...CA_FOR_GATEWAY].join(', ')}`);
  });

  it('keep the pure rooms pure', () => {
    const problems = edges.flatMap(({ file, specifier }) =>
      isPure(file) && IMPURE_MODULES.test(specifier) ? [`${file} imports ${specifier}`] : [],
    );
    none(problems, 'pure rooms take time, randomness and sockets as arguments');
  });

  it('take node:http from kit/http.ts, which says what the other way costs', () => {
    const problems = edges.flatMap(({ file, specifier, isTypeOnly }) =>
      specifier === 'node:http' && !isTypeOnly ? [`${file} imports ${specifier}`] : [],
    );
    none(problems, 'only types come from node:http; the rest from #kit/http.ts');
  });

  it('exist', () => {
    const problems = edges.flatMap(({ file, to }) =>
      to === undefined || existsSync(join(ROOT, to)) ? [] : [`${file} imports ${to}`],
    );
    none(problems, 'no such file');
  });
});

describe('sources', () => {
  it('stay short enough to read', () => {
    const problems = sources.flatMap((file) => {
      const lines = read(file).split('\n').length - 1;
      return lines > LONGEST_FILE_LINES ? [`${file} has ${lines} lines`] : [];
    });
    none(problems, `at most ${LONGEST_FILE_LINES} lines; a file is one idea`);
  });
});

describe('what is committed', () => {
  const texts = files.filter(
    (file) =>
      !/\.(?:png|ico|gz|woff2?|der|bin)$/.test(file) && file !== 'test/architecture.test.ts',
  );

  it('names no path of one machine', () => {
    const problems = texts.flatMap((file) =>
      read(file)
        .split('\n')
        .flatMap((line, at) =>
          /(?<![\w.-])\/(?:work|root|home\/[a-z]+)\//.test(line) ? [`${file}:${at + 1}`] : [],
        ),
    );
    none(problems, 'absolute paths of a developer machine');
  });

  it('names no registry in the lock file', () => {
    const problems = read('package-lock.json').match(/"resolved": "[^"]*"/g) ?? [];
    none(problems.slice(0, 3), 'install with `npm install --omit-lockfile-registry-resolved`');
  });

  it('pins every package to one version', () => {
    const manifest = JSON.parse(read('package.json')) as Record<string, unknown>;
    const problems = ['dependencies', 'devDependencies', 'optionalDependencies'].flatMap((group) =>
      Object.entries(manifest[group] ?? {})
        .filter(([, version]) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(String(version)))
        .map(([name, version]) => `${group}: ${name} ${String(version)}`),
    );
    none(problems, 'package.json wants exact versions');
  });
});

describe('README', () => {
  const readmes = files.filter((file) => /(?:^|\/)(?:README|CONTRIBUTING)\.md$/.test(file));
  const folders = readdirSync(ROOT, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !SKIPPED.has(entry.name))
    .map((entry) => entry.name);

  /** Links that are not web addresses, and code spans that can only mean a file or folder of the repository. */
  function missingIn(file: string): readonly string[] {
    const folder = dirname(file);
    const text = read(file).replaceAll(/^```[\s\S]*?^```/gm, '');
    const links = Array.from(text.matchAll(/\]\((?![a-z]+:|#)([^)#\s]+)/g), ([, path]) => path!);
    const spans = Array.from(text.matchAll(/`([\w.-]+(?:\/[\w.-]+)*\/?)`/g), ([, span]) => span!);
    const fromRoot = spans.filter(
      (span) => folders.includes(span.split('/')[0]!) && /\/.*\.[a-z]+$/.test(span),
    );
    // A README says `request/exchange.ts` where its own heading names the folder above.
    const below = spans.filter((span) => span.endsWith('.ts') && !fromRoot.includes(span));
    return [
      ...links.filter((path) => !existsSync(join(ROOT, folder, path))),
      ...fromRoot.filter((path) => !existsSync(join(ROOT, path))),
      ...below.filter(
        (path) =>
          !files.some((known) => isIn(known, folder) && `/${known}`.endsWith(`/${path}`)) &&
          !existsSync(join(ROOT, folder, path)),
      ),
    ];
  }

  it('names only files that exist', () => {
    const problems = readmes.flatMap((file) =>
      missingIn(file).map((path) => `${file} names ${path}`),
    );
    none(problems, 'no such file or folder');
  });

  it('names only scripts that exist', () => {
    const { scripts } = JSON.parse(read('package.json')) as { readonly scripts: object };
    const problems = readmes.flatMap((file) =>
      Array.from(read(file).matchAll(/\bnpm run ([\w:-]+)/g), ([, script]) => script!)
        .filter((script) => !(script in scripts))
        .map((script) => `${file} names npm run ${script}`),
    );
    none(problems, 'package.json has no such script');
  });
});
