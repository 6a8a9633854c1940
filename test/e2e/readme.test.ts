import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'node:test';
import { processesOf, type ProcessInfo } from '../support/proc-table.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEADLINE_MS = 120_000;

interface Block {
  readonly language: string;
  readonly text: string;
}

/** The fenced blocks of one section, in order. */
async function blocksOf(section: string): Promise<Block[]> {
  const readme = await readFile(`${ROOT}/README.md`, 'utf8');
  const body = readme.split(/^## /m).find((part) => part.startsWith(section));
  assert.ok(body !== undefined, `README.md has no section "${section}"`);
  return [...body.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].map(([, language, text]) => ({
    language: language!,
    text: text!,
  }));
}

interface Typed {
  /** What each block printed. */
  readonly printed: readonly string[];
  /** Processes that were still there when the last block had ended. */
  readonly left: readonly ProcessInfo[];
}

/**
 * Runs the blocks in one shell, as somebody would who types them. The shell has a process group of its own, so that what
 * is started with & can be ended whatever happens.
 *
 * @param folder where `mktemp -d` makes its folders; what the blocks start is found by it, as it is in their environment
 */
async function typed(blocks: readonly Block[], folder: string): Promise<Typed> {
  const mark = '----- end of block';
  const script = blocks.map(({ text }) => `${text}\necho '${mark}'\n`).join('');
  const shell = spawn('bash', ['-e', '-o', 'pipefail', '-c', script], {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: folder, ETCDCTL_API: '3' },
  });
  let stdout = '';
  let stderr = '';
  shell.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  shell.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  const closed = new Promise((resolve) => shell.once('close', resolve));
  const remaining = () => processesOf(shell.pid!, `TMPDIR=${folder}`);
  const endAll = (): void => {
    for (const { pid } of remaining()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended since.
      }
    }
  };
  process.on('exit', endAll);
  const timer = setTimeout(endAll, DEADLINE_MS);
  const code = await new Promise<number | null>((resolve) => shell.once('exit', resolve));
  clearTimeout(timer);
  const left = remaining();
  endAll();
  process.off('exit', endAll);
  await closed;
  const printed = stdout.split(`${mark}\n`);
  const stuck = blocks[printed.length - 1]?.text ?? '';
  assert.equal(code, 0, `the shell ended with ${code} in:\n${stuck}\n${printed.at(-1)}${stderr}`);
  return { printed: printed.slice(0, -1), left };
}

describe('README.md', () => {
  it('"Five minutes by hand" does what it says when it is typed', async (t) => {
    const blocks = await blocksOf('Five minutes by hand');
    const commands = blocks.filter(({ language }) => language === 'sh');
    assert.ok(commands.length > 5);
    const folder = await mkdtemp(join(tmpdir(), 'readme-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const began = performance.now();
    const { printed, left } = await typed(commands, folder);
    t.diagnostic(`took ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    assert.deepEqual(left, [], 'processes are left after "End all of it"');
    assert.deepEqual(await readdir(folder), []);
    let checked = 0;
    for (const [i, { language, text }] of blocks.entries()) {
      if (language !== 'text') continue;
      const command = blocks[i - 1]!;
      assert.equal(printed[commands.indexOf(command)], text, command.text);
      checked += 1;
    }
    assert.ok(checked > 2, 'the README shows no output');
  });

  it('names only paths that exist', async () => {
    const readme = await readFile(`${ROOT}/README.md`, 'utf8');
    const section = readme.slice(readme.indexOf('## Where to read on'));
    const paths = [...section.matchAll(/^- `([^`]+)`/gm)].map(([, path]) => path!);
    assert.ok(paths.length > 0);
    for (const path of paths) {
      await stat(`${ROOT}/${path}`);
    }
  });
});
