import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../../gateway/gatemesh', import.meta.url));

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Ran {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: '/',
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 20_000,
  });
  return { code: status, out: stdout, err: stderr };
}

describe('gatemesh', () => {
  const rows: readonly [name: string, args: string[], code: number, out: RegExp, err: RegExp][] = [
    ['--version', ['--version'], 0, /^gatemesh \d+\.\d+\.\d+\n$/, /^$/],
    ['--help', ['--help'], 0, /^usage: gatemesh COMMAND/, /^$/],
    ['no command', [], 64, /^$/, /^gatemesh: wanted a command; got nothing\nusage: /],
    [
      'a slip of the finger',
      ['gatway'],
      64,
      /^$/,
      /^gatemesh: unknown command "gatway"\. Did you mean "gateway"\?\n$/,
    ],
    [
      'nothing like a command',
      ['xyzzy'],
      64,
      /^$/,
      /^gatemesh: unknown command "xyzzy"\. "gatemesh --help" lists all\n$/,
    ],
    ['a word every object has', ['constructor'], 64, /^$/, /^gatemesh: unknown command "constr/],
    [
      'a command of a later version',
      ['top'],
      64,
      /^$/,
      /^gatemesh: this version \(\S+\) has no "top" command yet\n$/,
    ],
  ];
  for (const [name, args, code, out, err] of rows) {
    it(name, () => {
      const ran = run(LAUNCHER, args);
      assert.match(ran.out, out);
      assert.match(ran.err, err);
      assert.equal(ran.code, code);
    });
  }
});

describe('the launcher', () => {
  let root: string;
  let bin: string;

  async function program(path: string, script: string): Promise<void> {
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, 0o755);
  }

  /** Nothing but sh's own tools and what a test puts in front. */
  const path = (): NodeJS.ProcessEnv => ({ PATH: [bin, join(root, 'tools')].join(delimiter) });

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gatemesh launcher-'));
    bin = join(root, 'bin');
    for (const folder of ['bin', 'gateway', 'tools']) await mkdir(join(root, folder));
    for (const tool of ['sh', 'readlink', 'dirname', 'uname', 'mkdir', 'touch']) {
      const found = spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' });
      await symlink(found.stdout.trim(), join(root, 'tools', tool));
    }
    await copyFile(LAUNCHER, join(root, 'gateway', 'gatemesh'));
    await chmod(join(root, 'gateway', 'gatemesh'), 0o755);
  });

  afterEach(() => rm(root, { recursive: true }));

  it('installs packages first, once, saying so on stderr only', async () => {
    await writeFile(join(root, 'package-lock.json'), '{}');
    await program(
      join(bin, 'npm'),
      'echo "npm $1 noise"; mkdir -p node_modules; touch node_modules/.package-lock.json',
    );
    await program(join(bin, 'node'), '[ "$1" = -e ] || echo "node $*"');
    const first = run(join(root, 'gateway/gatemesh'), ['get', 'a b'], path());
    assert.equal(first.code, 0);
    assert.match(first.err, /^gatemesh: installing packages into \S+.*\n$/);
    assert.match(first.out, /^node --disable-sigusr1 \S+ .*gateway\/main\.ts get a b\n$/);
    const second = run(join(root, 'gateway/gatemesh'), ['get'], path());
    assert.equal(second.err, '');
  });

  const failures: readonly [name: string, npm: string | undefined, err: RegExp][] = [
    ['there is no npm', undefined, /there is no npm to install them; install Node with npm/],
    ['npm fails', 'echo "network is down" >&2; exit 1', /network is down\ngatemesh: npm could not/],
  ];
  for (const [name, npm, err] of failures) {
    it(`says what to do when ${name}`, async () => {
      await writeFile(join(root, 'package-lock.json'), '{}');
      if (npm !== undefined) await program(join(bin, 'npm'), npm);
      const ran = run(join(root, 'gateway/gatemesh'), ['get'], path());
      assert.match(ran.err, err);
      assert.equal(ran.code, 69);
    });
  }

  it('says what to do when Node is too old', async () => {
    await program(join(bin, 'node'), '[ "$1" = -e ] && exit 1; echo v20.1.0');
    const ran = run(join(root, 'gateway/gatemesh'), ['get'], path());
    assert.match(
      ran.err,
      /^gatemesh: needs Node 24\.12 or newer \(found: v20\.1\.0\); run "npm ci"/,
    );
    assert.equal(ran.code, 69);
  });

  it('finds its package through links', async () => {
    await program(join(bin, 'node'), '[ "$1" = -e ] || echo "$3"');
    await symlink('../gateway/gatemesh', join(bin, 'relative'));
    await symlink(join(bin, 'relative'), join(bin, 'absolute'));
    const ran = run(join(bin, 'absolute'), [], path());
    assert.equal(ran.out, `${root}/gateway/main.ts\n`);
  });

  describe('before a gateway', () => {
    const start = (cache: string) =>
      run(join(root, 'gateway/gatemesh'), ['gateway', '--config', 'a b'], {
        ...path(),
        NODE_COMPILE_CACHE: cache,
      });
    const started = async (): Promise<readonly string[]> => {
      const lines = await readFile(join(root, 'started'), 'utf8');
      return lines.trimEnd().replaceAll(`${root}/gateway/`, '').split('\n');
    };

    beforeEach(async () => {
      await writeFile(join(root, 'package.json'), '{}');
      await program(
        join(bin, 'node'),
        `[ "$1" = -e ] || { shift 2; echo "$*" >>'${root}/started'; }`,
      );
    });

    it('fills the cache of compiled code, once for each version', async () => {
      const filling = ['main.ts gateway --help', 'worker/main.ts'];
      const itself = 'main.ts gateway --config a b';
      for (let i = 0; i < 2; i++) assert.equal(start(join(root, 'cache')).err, '');
      assert.deepEqual(await started(), [...filling, itself, itself]);
      const later = Date.now() / 1_000 + 60;
      await utimes(join(root, 'package.json'), later, later);
      start(join(root, 'cache'));
      assert.deepEqual(await started(), [...filling, itself, itself, ...filling, itself]);
    });

    it('does without the cache where there can be none', async () => {
      await writeFile(join(root, 'file'), '');
      assert.equal(start(join(root, 'file/cache')).err, '');
      assert.deepEqual(await started(), ['main.ts gateway --config a b']);
    });
  });
});
