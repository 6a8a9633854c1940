import { spawn } from 'node:child_process';
import { createServer, type Server } from 'node:net';
import { fileURLToPath } from 'node:url';

// The test runner ends a file that takes too long with SIGTERM; what it started must go with it ('exit' handlers).
process.once('SIGTERM', () => process.exit(143));

/** The command as people run it. */
export const GATEMESH = fileURLToPath(new URL('../../gateway/gatemesh', import.meta.url));

export interface Finished {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly elapsedMs: number;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  /** Killed, and the call rejects, when it takes longer. Default 30 s. */
  readonly deadlineMs?: number;
}

/** Runs a command to its end; whatever the exit code is, it is a result. */
export async function run(
  command: string,
  args: readonly string[],
  { cwd, env, input = '', deadlineMs = 30_000 }: RunOptions = {},
): Promise<Finished> {
  const began = performance.now();
  const child = spawn(command, args, { cwd, env: env ?? process.env });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  // A command that does not read its input closes it; that is its business.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, deadlineMs);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).finally(() => clearTimeout(timer));
  if (late) {
    const what = `${command} ${args.join(' ')}`;
    throw new Error(`${what} took longer than ${deadlineMs} ms\n${stdout}${stderr}`);
  }
  return { code, stdout, stderr, elapsedMs: performance.now() - began };
}

/** Runs a command that has to succeed; gives its standard output. */
export async function must(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')} exited with ${code}\n${stdout}${stderr}`);
}

export function gatemesh(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return run(GATEMESH, args, options);
}

/**
 * Ports nobody listens on at `host`, all different. Something else may take one before it is used; on the addresses
 * 127.0.1.x nothing else on the machine does.
 */
export async function freePorts(host: string, count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => listenAnywhere(host)));
  const ports = servers.map((server) => {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('not a TCP server');
    return address.port;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function listenAnywhere(host: string): Promise<Server> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, () => resolve(server));
  });
}
