import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { MeshError, messageOf } from '#kit/errors.ts';

/** How a process ended; exactly one of the two is set. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A child process whose output goes to a file. It is only ever signalled by its own pid. */
export interface RunningProcess {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Settles when the process has ended; never rejects. */
  readonly exited: Promise<Exit>;
  /** Undefined while it runs. */
  readonly exit: Exit | undefined;
  /** SIGTERM, and SIGKILL when it is still there after `graceMs`. Harmless when it has ended already. */
  stop(graceMs?: number): Promise<Exit>;
  /** One signal; resolves when the process has ended. */
  kill(signal?: NodeJS.Signals): Promise<Exit>;
}

export interface StartOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Appended to, so that a restarted process keeps the log of its predecessor. */
  readonly logFile: string;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Long enough for a gateway to drain; a process that needs longer is stuck. */
const STOP_GRACE_MS = 5_000;

/** Starts a process; rejects with `process_start` when the command cannot be run at all. */
export async function startProcess(options: StartOptions): Promise<RunningProcess> {
  const output = openSync(options.logFile, 'a', 0o600);
  const child = spawn(options.command, options.args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  // A program that dies of a fault leaves nothing running behind.
  const killOnExit = (): void => void child.kill('SIGKILL');
  process.on('exit', killOnExit);
  let exit: Exit | undefined;
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      process.off('exit', killOnExit);
      exit = { code, signal };
      resolve(exit);
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => {
      process.off('exit', killOnExit);
      const message = `${options.name}: cannot run ${options.command}: ${messageOf(error)}`;
      reject(new MeshError('process_start', message, { cause: error }));
    });
  });

  const kill = (signal: NodeJS.Signals = 'SIGKILL'): Promise<Exit> => {
    if (exit === undefined) child.kill(signal);
    return exited;
  };
  return {
    name: options.name,
    pid: child.pid!,
    logFile: options.logFile,
    exited,
    get exit() {
      return exit;
    },
    kill,
    async stop(graceMs = STOP_GRACE_MS) {
      const timer = setTimeout(() => void kill('SIGKILL'), graceMs);
      try {
        return await kill('SIGTERM');
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** The last lines a process wrote, for a message about why it did not come up. */
export async function lastLines(process: RunningProcess, count = 5): Promise<string> {
  const text = await readFile(process.logFile, 'utf8');
  return text.trimEnd().split('\n').slice(-count).join('\n');
}

/**
 * Waits until `ready` no longer throws. Fails with `process_not_ready` (the process's last words and
 * the last reason) at the deadline, or at once when the process ends.
 */
export async function untilReady(
  process: RunningProcess,
  ready: () => Promise<void>,
  deadlineMs: number,
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    let reason: string;
    try {
      await ready();
      return;
    } catch (error) {
      reason = messageOf(error);
    }
    const ended = process.exit;
    if (ended === undefined && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      continue;
    }
    const what =
      ended === undefined
        ? `was not ready within ${deadlineMs / 1000} s (${reason})`
        : `ended with ${ended.signal ?? `exit code ${ended.code}`} before it was ready`;
    const words = await lastLines(process);
    throw new MeshError(
      'process_not_ready',
      `${process.name} ${what}. Its log is ${process.logFile} and ends with:\n${words}`,
    );
  }
}
