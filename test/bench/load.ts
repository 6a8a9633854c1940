import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { cpuSeconds, ownCpuSeconds } from './bed.ts';
import type { Subject } from './subject.ts';

const run = promisify(execFile);

export interface Load {
  readonly connections: number;
  readonly path: string;
  /** `name: value` lines beside Host. */
  readonly headers: readonly string[];
}

/** One run of wrk against one subject. */
export interface Sample {
  readonly requests: number;
  readonly perSecond: number;
  /** As wrk prints it: `412us`, `1.02ms`. Closed loop at full speed: says how busy it was, not how slow it is. */
  readonly p50: string;
  readonly p99: string;
  readonly cpuSeconds: number;
  /** Of the processes that carry no traffic; not part of `cpuSeconds`. */
  readonly asideSeconds: number;
}

/** Keeps the subject busy from the load's core for so many seconds, after a warm-up a fifth as long. */
export async function measure(
  subject: Subject,
  load: Load,
  core: number,
  seconds: number,
): Promise<Sample> {
  await wrk(subject, load, core, Math.max(1, Math.round(seconds / 5)));
  const [all, aside] = [cpuSeconds(subject.pids), ownCpuSeconds(subject.aside)];
  const result = await wrk(subject, load, core, seconds);
  const asideSeconds = ownCpuSeconds(subject.aside) - aside;
  return {
    ...result,
    cpuSeconds: cpuSeconds(subject.pids) - all - asideSeconds,
    asideSeconds,
  };
}

async function wrk(
  { name, url, host }: Subject,
  { connections, path, headers }: Load,
  core: number,
  seconds: number,
): Promise<Pick<Sample, 'requests' | 'perSecond' | 'p50' | 'p99'>> {
  const all = host === undefined ? headers : [`Host: ${host}`, ...headers];
  const { stdout } = await run('taskset', [
    ...['-c', String(core), 'wrk', '-t1', `-c${connections}`, `-d${seconds}`, '--latency'],
    ...all.flatMap((header) => ['-H', header]),
    url + path,
  ]);
  const trouble = stdout.match(/^.*(?:Socket errors|Non-2xx).*$/gm);
  if (trouble !== null) throw new Error(`${name} at ${url}${path}: ${trouble.join(' ').trim()}`);
  const find = (pattern: RegExp): string => {
    const found = pattern.exec(stdout)?.[1];
    if (found === undefined) throw new Error(`wrk against ${name} said:\n${stdout}`);
    return found;
  };
  const requests = Number(find(/(\d+) requests in/));
  if (requests === 0) throw new Error(`${name} at ${url}${path} answered nothing`);
  return {
    requests,
    perSecond: Number(find(/Requests\/sec:\s+([\d.]+)/)),
    p50: find(/^\s+50%\s+(\S+)/m),
    p99: find(/^\s+99%\s+(\S+)/m),
  };
}
