import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT, MeshError } from '#kit/errors.ts';
import { eventually } from '../support/eventually.ts';
import { allProcesses } from '../support/proc-table.ts';

/** The proxies run on one core, the load and the origin on another: what one costs is not taken from the other. */
export interface Cores {
  readonly proxy: number;
  readonly load: number;
}

/** Processes in a temporary folder on loopback, all ended and removed by `close`. */
export class Bed {
  readonly folder: string;
  readonly cores: Cores;
  readonly #pids = new Set<number>();

  constructor(cores: Cores) {
    this.cores = cores;
    this.folder = mkdtempSync(join(tmpdir(), 'gatemesh-bench-'));
  }

  /** Writes a file into the folder and gives its path. */
  file(name: string, content: string | Uint8Array): string {
    const path = join(this.folder, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  /**
   * Starts a server pinned to a core and waits until it accepts connections.
   *
   * @param port waited for on 127.0.0.1; undefined: not waited for
   * @returns the process id; taskset becomes the command, so it is the server's own
   */
  async start(
    name: string,
    core: number,
    command: readonly string[],
    port: number | undefined,
  ): Promise<number> {
    const logFile = join(this.folder, `${name}.log`);
    const log = openSync(logFile, 'a');
    const child = spawn('taskset', ['-c', String(core), ...command], {
      cwd: this.folder,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    if (child.pid === undefined) throw new Error('taskset could not be started');
    this.#pids.add(child.pid);
    if (port === undefined) return child.pid;
    await eventually(async () => {
      if (child.exitCode !== null || !(await accepts(port))) {
        throw new Error(`${name} does not listen on ${port}; it said:\n${lastLines(logFile)}`);
      }
    }, 20_000);
    return child.pid;
  }

  /** Ends one that it started, with what that started. */
  async stop(pid: number): Promise<void> {
    await end([pid]);
    this.#pids.delete(pid);
  }

  /** Ends everything it started, with what that started. */
  async close(): Promise<void> {
    await end([...this.#pids]);
    this.#remove();
  }

  /** For when the bench itself is ended: everything below it, the load too, at once. */
  abort(): void {
    const pids = processTree([process.pid]);
    signal(
      pids.filter((pid) => pid !== process.pid),
      'SIGKILL',
    );
    this.#remove();
  }

  #remove(): void {
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Two cores of those this process may use. */
export function chooseCores(): Cores {
  const status = readFileSync('/proc/self/status', 'utf8');
  const allowed = /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? '';
  const cores = allowed.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last! - first! + 1 }, (_, at) => first! + at);
  });
  const [proxy, load] = cores;
  if (proxy === undefined || load === undefined) {
    throw new MeshError(
      'one_core',
      `bench: needs two processor cores, one for the proxies and one for load and origin; this process may use: ${allowed}`,
      { exitCode: EXIT.unreachable },
    );
  }
  return { proxy, load };
}

/** User and system time in seconds of these processes, all their threads and descendants. */
export function cpuSeconds(roots: readonly number[]): number {
  return treeOf(roots).reduce((sum, { ticks }) => sum + ticks, 0) / TICKS_PER_SECOND;
}

/** The same of these processes alone. */
export function ownCpuSeconds(pids: readonly number[]): number {
  const own = allProcesses().filter(({ pid }) => pids.includes(pid));
  return own.reduce((sum, { ticks }) => sum + ticks, 0) / TICKS_PER_SECOND;
}

/**
 * Time in seconds that the threads of these processes and their descendants were ready to run while something else had
 * their core (sched-stats, "time spent waiting on a runqueue").
 *
 * @param aside processes that do not count; their descendants do
 */
export function waitedSeconds(roots: readonly number[], aside: readonly number[]): number {
  const waits = treeOf(roots)
    .filter(({ pid }) => !aside.includes(pid))
    .flatMap(({ pid }) => readdirSync(`/proc/${pid}/task`).map((task) => `${pid}/task/${task}`))
    .map((task) => Number(readFileSync(`/proc/${task}/schedstat`, 'utf8').split(' ')[1]));
  return waits.reduce((sum, value) => sum + value, 0) / 1e9;
}

/** Resident memory in MB (10^6 bytes) of these processes and their descendants. */
export function residentMb(roots: readonly number[]): number {
  const kib = treeOf(roots).map(({ pid }) => kibOf(`/proc/${pid}/status`, 'VmRSS'));
  return (kib.reduce((sum, value) => sum + value, 0) * 1024) / 1e6;
}

/**
 * Memory in bytes that these processes and their descendants have for themselves (proportional where they share it),
 * files mapped into them left out: those are shared with whoever else runs the same program.
 *
 * @param aside processes that do not count; their descendants do
 */
export function anonymousBytes(roots: readonly number[], aside: readonly number[]): number {
  const kib = treeOf(roots)
    .filter(({ pid }) => !aside.includes(pid))
    .map(({ pid }) => kibOf(`/proc/${pid}/smaps_rollup`, 'Pss_Anon'));
  return kib.reduce((sum, value) => sum + value, 0) * 1024;
}

/** How many files this process may have open, and what it starts with it. Node has raised the soft limit to the hard one. */
export function openFilesLimit(): number {
  const found = /^Max open files +(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return found === null || found[1] === 'unlimited' ? Infinity : Number(found[1]);
}

/** Ports of 127.0.0.1 that nobody listens on. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(servers.map(listen));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

function kibOf(file: string, field: string): number {
  const value = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(file, 'utf8'))?.[1];
  if (value === undefined) throw new Error(`${file} has no ${field}`);
  return Number(value);
}

async function end(roots: readonly number[]): Promise<void> {
  const pids = processTree(roots);
  signal(pids, 'SIGTERM');
  await eventually(() => {
    if (allProcesses().some(({ pid }) => pids.includes(pid))) throw new Error('still running');
  }, 5_000).catch(() => signal(pids, 'SIGKILL'));
}

/** These processes and all their descendants. */
export function processTree(roots: readonly number[]): readonly number[] {
  return treeOf(roots).map(({ pid }) => pid);
}

function treeOf(roots: readonly number[]): ReturnType<typeof allProcesses> {
  const all = allProcesses();
  const found = new Set(roots);
  // A process is younger than its parent, but process ids wrap around: go on until nothing is added.
  for (let size = -1; size !== found.size;) {
    size = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  return all.filter(({ pid }) => found.has(pid));
}

function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch {
      // It has ended already.
    }
  }
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function lastLines(path: string): string {
  return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-15).join('\n');
}
