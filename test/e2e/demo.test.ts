import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkAddresses } from '../../gateway/demo/addresses.ts';
import { startProcess } from '../../gateway/demo/processes.ts';
import { startEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { GATEMESH, gatemesh, run, type Finished } from '../support/processes.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NODE_COMPILE_CACHE = join(ROOT, 'node_modules/.cache/gatemesh');
const TOUR_MS = 60_000;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gatemesh-demo-test-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Nothing is left: no listener, no file. */
async function assertNothingLeft(): Promise<void> {
  await checkAddresses();
  assert.deepEqual(await readdir(folder), []);
}

function demo(...args: readonly string[]): Promise<Finished> {
  return gatemesh(['demo', ...args], {
    env: { ...process.env, TMPDIR: folder },
    deadlineMs: TOUR_MS,
  });
}

function assertTour({ code, stdout, stderr }: Finished): void {
  assert.equal(code, 0, stdout + stderr);
  assert.equal(stderr, '');
  assert.doesNotMatch(stdout, /FAILED/);
  for (const step of ['1. ', '2. ', '3. ', '4. ']) {
    assert.ok(stdout.includes(`\n  ${step}`), `step ${step}is missing in:\n${stdout}`);
  }
  assert.equal(stdout.match(/^ {4}OK /gm)?.length, 10, stdout);
}

describe('gatemesh demo', () => {
  it('shows the tour on the embedded registry, ends with 0 and leaves nothing', async (t) => {
    const finished = await demo('--exit-after-tour');
    assertTour(finished);
    t.diagnostic(`took ${(finished.elapsedMs / 1_000).toFixed(1)} s`);
    await assertNothingLeft();
  });

  it('does the same on a real etcd, and takes its keys out again', async (t) => {
    const etcd = await startEtcd();
    try {
      const finished = await demo('--etcd', etcd.url, '--exit-after-tour');
      assertTour(finished);
      t.diagnostic(`took ${(finished.elapsedMs / 1_000).toFixed(1)} s`);
      assert.equal(await etcd.etcdctl('get', '--prefix', '/', '--keys-only'), '');
    } finally {
      await etcd.stop();
    }
    await assertNothingLeft();
  });

  const endings = [
    { signal: 'SIGINT', command: GATEMESH, args: ['demo'] },
    { signal: 'SIGTERM', command: GATEMESH, args: ['demo'] },
    // npm puts a shell in between, which would not hand the signal on.
    { signal: 'SIGTERM', command: 'npm', args: ['run', 'demo'] },
  ] as const;
  for (const { signal, command, args } of endings) {
    const name = [basename(command), ...args].join(' ');
    it(`ends everything it started on ${signal} to ${name}, in the middle of the tour`, async () => {
      const logFile = join(folder, 'demo.log');
      const running = await startProcess({
        name: 'demo',
        command,
        args,
        cwd: ROOT,
        logFile,
        // Newer versions of npm would have a cache of their own in TMPDIR.
        env: { ...process.env, TMPDIR: folder, NODE_COMPILE_CACHE },
      });
      try {
        await eventually(async () => {
          assert.match(await readFile(logFile, 'utf8'), /2\. A weight changes/);
        }, TOUR_MS);
        assert.deepEqual(await running.kill(signal), { code: 0, signal: null });
      } finally {
        await running.stop();
      }
      assert.match(await readFile(logFile, 'utf8'), /Everything is ended and removed\.\n$/);
      await rm(logFile);
      await assertNothingLeft();
    });
  }

  it('prints commands that work, and goes on until SIGINT', async () => {
    const logFile = join(folder, 'demo.log');
    const running = await startProcess({
      name: 'demo',
      command: GATEMESH,
      args: ['demo'],
      logFile,
      env: { ...process.env, TMPDIR: folder },
    });
    try {
      await eventually(async () => {
        assert.match(await readFile(logFile, 'utf8'), /^Ctrl-C ends everything\.$/m);
      }, TOUR_MS);
      const shown = (await readFile(logFile, 'utf8')).split(/^What to type.*$/m)[1]!;
      const commands = shown.split('\n\n')[0]!.trim().split('\n');
      // The first column says what it is for; two blanks end it.
      const script = commands.map((line) => line.trim().replace(/^.*?  +/, '')).join('\n');
      const typed = await run('bash', ['-e', '-o', 'pipefail', '-c', script], {
        env: { ...process.env, npm_config_loglevel: 'silent' },
        deadlineMs: 60_000,
      });
      assert.equal(typed.code, 0, typed.stdout + typed.stderr);
      assert.match(typed.stdout, /^web v1 on vm-a, called by spiffe:/m);
      assert.match(typed.stdout, /^orders v[12] on vm-[bc], called by spiffe:.*\/svc\/web$/m);
      assert.match(typed.stdout, /^orders v[12] on vm-[bc], called by spiffe:.*\/node\/vm-a$/m);
      assert.match(typed.stdout, /config\/routes\/orders-canary/);
      assert.deepEqual(await running.kill('SIGINT'), { code: 0, signal: null });
    } finally {
      await running.stop();
    }
    await rm(logFile);
    await assertNothingLeft();
  });

  it('says which address is taken, and starts nothing', async () => {
    const squatter = createServer().listen(8_080, '127.0.1.1');
    try {
      const { code, stderr } = await demo('--exit-after-tour');
      assert.equal(code, 1);
      assert.match(
        stderr,
        /127\.0\.1\.1:8080 for the edge gateway: something listens there already/,
      );
      assert.match(stderr, /ss -ltnp/);
      assert.doesNotMatch(stderr, /\n {4}at /);
    } finally {
      squatter.close();
    }
    await assertNothingLeft();
  });

  const wrong: readonly { name: string; args: string[]; code: number; says: RegExp }[] = [
    { name: 'an unknown flag', args: ['--etdc', 'x'], code: 64, says: /Did you mean "--etcd"\?/ },
    { name: 'a word too many', args: ['now'], code: 64, says: /wanted only flags; got "now"/ },
    { name: 'an etcd that is no URL', args: ['--etcd', 'here'], code: 64, says: /wants a URL/ },
    {
      name: 'an etcd that is not there',
      args: ['--etcd', 'http://127.0.1.1:1'],
      code: 69,
      says: /127\.0\.1\.1:1/,
    },
  ];
  for (const { name, args, code: wanted, says } of wrong) {
    it(`refuses ${name} with exit code ${wanted}`, async () => {
      const { code, stderr } = await demo(...args);
      assert.equal(code, wanted, stderr);
      assert.match(stderr, says);
      assert.doesNotMatch(stderr, /\n {4}at /);
      await assertNothingLeft();
    });
  }

  it('explains itself', async () => {
    const { code, stdout } = await demo('--help');
    assert.equal(code, 0);
    assert.match(stdout, /^usage: gatemesh demo \[--etcd URL\] \[--exit-after-tour\]\n/);
  });
});
