import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processesOf, type ProcessInfo } from './proc-table.ts';
import type { Result } from './reporter.ts';

/**
 * `node test/support/runner.ts PHASE [PATTERN]`: runs each test file in a process of its own and appends
 * `PASSED FAILED SKIPPED SECONDS PHASE` to $GATEMESH_TEST_TOTALS.
 *
 * Not `node --test`, which waits for ever when a test leaves a handle open and does not see the processes that a test
 * leaves behind. Here both fail, by name, and end.
 */
interface Phase {
  /** A folder, or one file. */
  readonly path: string;
  readonly concurrency: number;
  /** For one test; a test may ask for less or more itself. */
  readonly testTimeoutMs: number;
  /** For one file: no file runs longer. */
  readonly fileTimeoutMs: number;
  /** Each file gets a network of its own where this user may make one. */
  readonly ownNetwork?: boolean;
}

const PHASES: Readonly<Record<string, Phase>> = {
  unit: { path: 'test/unit', concurrency: 2, testTimeoutMs: 30_000, fileTimeoutMs: 120_000 },
  architecture: {
    path: 'test/architecture.test.ts',
    concurrency: 1,
    testTimeoutMs: 30_000,
    fileTimeoutMs: 60_000,
  },
  integration: {
    path: 'test/integration',
    concurrency: 1,
    testTimeoutMs: 60_000,
    fileTimeoutMs: 240_000,
  },
  // Serial: these measure how long things take. One of them runs three minutes of load.
  e2e: {
    path: 'test/e2e',
    concurrency: 1,
    testTimeoutMs: 300_000,
    fileTimeoutMs: 900_000,
    ownNetwork: true,
  },
};

/**
 * A network namespace with nothing but a loopback interface: the demo and the README have fixed ports, and whatever else
 * runs on this machine (another demo, another etcd) must not make their tests fail. Needs root and iproute2.
 */
const OWN_NETWORK = ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];

/** How long what a test started may take to go away after the test's own process has ended. */
const GRACE_MS = 1_000;

interface FileReport {
  readonly results: readonly Result[];
  readonly output: string;
  readonly seconds: number;
  /** Its temporary folder, kept when something failed. */
  readonly files: string | undefined;
}

const running = new Set<{
  readonly child: ChildProcess;
  readonly marker: string;
  readonly temporary: string;
}>();
const folder = mkdtempSync(join(tmpdir(), 'gatemesh-results-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const [signal, code] of [['SIGINT', 130] as const, ['SIGTERM', 143] as const]) {
  process.on(signal, () => {
    for (const { child, marker, temporary } of running) {
      end(processesOf(child.pid ?? -1, marker));
      rmSync(temporary, { recursive: true, force: true, maxRetries: 3 });
    }
    process.exit(code);
  });
}

await main(process.argv[2] ?? '', process.argv[3] ?? '');

async function main(name: string, pattern: string): Promise<void> {
  const phase = PHASES[name];
  if (phase === undefined) throw new Error(`wanted one of ${Object.keys(PHASES).join(', ')}`);
  const began = performance.now();
  const files = testFiles(phase.path).filter((file) => file.includes(pattern));
  const queue = [...files];
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const prefix = phase.ownNetwork === true && canHaveOwnNetwork() ? OWN_NETWORK : [];
  const lanes = Array.from({ length: phase.concurrency }, async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const report = await runFile(file, phase, prefix);
      for (const { kind } of report.results) if (kind !== 'note') totals[kind]++;
      print(file, report);
    }
  });
  await Promise.all(lanes);
  const seconds = Math.round((performance.now() - began) / 1000);
  const line = `${totals.passed} ${totals.failed} ${totals.skipped} ${seconds} ${name}\n`;
  const file = process.env['GATEMESH_TEST_TOTALS'];
  if (file !== undefined && files.length > 0) appendFileSync(file, line);
  process.exitCode = totals.failed > 0 ? 1 : 0;
}

function testFiles(path: string): readonly string[] {
  if (path.endsWith('.ts')) return [path];
  try {
    return readdirSync(path, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.test.ts'))
      .map((file) => join(path, file))
      .toSorted();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

function canHaveOwnNetwork(): boolean {
  const [command, ...args] = OWN_NETWORK;
  return spawnSync(command!, [...args, 'true'], { stdio: 'ignore' }).status === 0;
}

/** @param prefix command line before the one of the test file's own */
async function runFile(file: string, phase: Phase, prefix: readonly string[]): Promise<FileReport> {
  const began = performance.now();
  const id = randomUUID();
  const marker = `GATEMESH_TEST_FILE=${id}`;
  const events = join(folder, id);
  // Its own, so that tests that look for what was left behind see nobody else's; short, because a Unix socket's path is.
  const temporary = mkdtempSync(join(tmpdir(), 'gm-'));
  const [command, ...args] = [
    ...prefix,
    process.execPath,
    `--test-timeout=${phase.testTimeoutMs}`,
    '--test-reporter=./test/support/reporter.ts',
    `--test-reporter-destination=${events}`,
    file,
  ];
  const child = spawn(command, args, {
    // A process group of its own, so that all of it can be ended.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, GATEMESH_TEST_FILE: id, TMPDIR: temporary },
  });
  const entry = { child, marker, temporary };
  running.add(entry);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => (output += text));
  }
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    end(processesOf(child.pid ?? -1, marker));
  }, phase.fileTimeoutMs);
  // 'exit', not 'close': a process that was left behind holds the pipes open.
  const status = await new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal ?? `code ${code}`));
  });
  clearTimeout(timer);
  const left = late ? [] : await leftBehind(child.pid ?? -1, marker);
  end(left);
  child.stdout.destroy();
  child.stderr.destroy();
  running.delete(entry);

  const results = readResults(events);
  const fail = (error: string): void => void results.push({ kind: 'failed', name: file, error });
  const seen = new Set(results.map((result) => result.kind));
  if (late) fail(`did not end in ${phase.fileTimeoutMs / 1000} s: a handle was left open`);
  else if (status !== 'code 0' && !seen.has('failed')) fail(`ended with ${status}`);
  else if (!seen.has('passed') && !seen.has('failed') && !seen.has('skipped')) fail('has no tests');
  if (left.length > 0) {
    fail(`left running: ${left.map(({ pid, command }) => `${command} (${pid})`).join('; ')}`);
  }
  const isFailed = results.some(({ kind }) => kind === 'failed');
  const isEmpty = readdirSync(temporary).length === 0;
  const files = isFailed && !isEmpty ? temporary : undefined;
  if (files === undefined) rmSync(temporary, { recursive: true, force: true });
  return { results, output, seconds: (performance.now() - began) / 1000, files };
}

async function leftBehind(group: number, marker: string): Promise<readonly ProcessInfo[]> {
  const deadline = performance.now() + GRACE_MS;
  for (;;) {
    const left = processesOf(group, marker);
    if (left.length === 0 || performance.now() > deadline) return left;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function end(processes: readonly ProcessInfo[]): void {
  for (const { pid } of processes) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself in between.
    }
  }
}

function readResults(path: string): Result[] {
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    // Nothing was reported: the file failed before its first test.
  }
  // The last line may be half written when the process was killed.
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Result);
}

function print(file: string, { results, output, seconds, files }: FileReport): void {
  const count = (kind: Result['kind']): number => results.filter((r) => r.kind === kind).length;
  const failed = count('failed');
  const counts = [`${count('passed')} passed`];
  if (failed > 0) counts.push(`${failed} failed`);
  if (count('skipped') > 0) counts.push(`${count('skipped')} skipped`);
  const verdict = failed > 0 ? 'FAIL' : 'ok  ';
  console.log(`  ${verdict}  ${file}: ${counts.join(', ')}, ${seconds.toFixed(1)} s`);
  for (const result of results) {
    if (result.kind === 'skipped')
      console.log(`        skipped: ${result.name} (${result.reason})`);
    if (result.kind === 'note') console.log(`        ${result.text}`);
    if (result.kind === 'failed') console.log(indent(`failed: ${result.name}\n${result.error}`));
  }
  if (files !== undefined) console.log(`        its files: ${files}`);
  if (failed > 0 && output !== '') console.log(indent(`its output:\n${lastLines(output, 60)}`));
}

function lastLines(text: string, count: number): string {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}

function indent(text: string): string {
  return `        ${text.replaceAll('\n', '\n          ')}`;
}
