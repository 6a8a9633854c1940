import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'node:test';

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

/**
 * Runs the blocks in one shell, as somebody would who types them; gives what each one printed. The shell has a process
 * group of its own, so that what is started with & can be ended whatever happens.
 */
async function typed(blocks: readonly Block[]): Promise<string[]> {
  const mark = '----- end of block';
  const script = blocks.map(({ text }) => `${text}\necho '${mark}'\n`).join('');
  const shell = spawn('bash', ['-e', '-o', 'pipefail', '-c', script], {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, npm_config_loglevel: 'silent', ETCDCTL_API: '3' },
  });
  let stdout = '';
  let stderr = '';
  shell.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  shell.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  const endGroup = (): void => {
    try {
      process.kill(-shell.pid!, 'SIGKILL');
    } catch {
      // Nothing of the group is left, which is as it should be.
    }
  };
  process.on('exit', endGroup);
  const timer = setTimeout(endGroup, DEADLINE_MS);
  const code = await new Promise<number | null>((resolve) => shell.once('close', resolve));
  clearTimeout(timer);
  process.off('exit', endGroup);
  endGroup();
  const printed = stdout.split(`${mark}\n`);
  const stuck = blocks[printed.length - 1]?.text ?? '';
  assert.equal(code, 0, `the shell ended with ${code} in:\n${stuck}\n${printed.at(-1)}${stderr}`);
  return printed.slice(0, -1);
}

describe('README.md', () => {
  it('"Five minutes by hand" does what it says when it is typed', async (t) => {
    const blocks = await blocksOf('Five minutes by hand');
    const commands = blocks.filter(({ language }) => language === 'sh');
    assert.ok(commands.length > 5);
    const began = performance.now();
    const printed = await typed(commands);
    t.diagnostic(`took ${((performance.now() - began) / 1_000).toFixed(1)} s`);
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
