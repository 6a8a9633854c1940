import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Driver } from '../methods/cpu.ts';
import type { Subject } from '../subjects/subject.ts';

const run = promisify(execFile);

export interface WrkLoad {
  readonly connections: number;
  readonly path?: string;
  /** `name: value` lines beside Host. */
  readonly headers?: readonly string[];
  /** A Lua file of this folder that makes the requests, and its arguments. */
  readonly script?: (subject: Subject) => readonly [file: string, ...args: string[]];
}

/** HTTP/1.1 over keep-alive connections, the next request when the answer is there: a closed loop at full speed. */
export function wrk({ connections, path = '/', headers = [], script }: WrkLoad): Driver {
  return async (subject, { cores }, seconds) => {
    const { name, url, host } = subject;
    const all = host === undefined ? headers : [`Host: ${host}`, ...headers];
    const [file, ...args] = script?.(subject) ?? [];
    const { stdout } = await run('taskset', [
      ...['-c', String(cores.load), 'wrk', '-t1', `-c${connections}`, `-d${seconds}`, '--latency'],
      ...all.flatMap((header) => ['-H', header]),
      ...(file === undefined ? [] : ['-s', join(import.meta.dirname, file)]),
      ...[url + path, ...args],
    ]);
    try {
      return parseWrk(stdout);
    } catch (error) {
      throw new Error(`${name} at ${url}${path}: ${(error as Error).message}`, { cause: error });
    }
  };
}

/** @throws when a request failed, or wrk did not say what it says */
export function parseWrk(output: string): Awaited<ReturnType<Driver>> {
  const trouble = output.match(/^.*(?:Socket errors|Non-2xx).*$/gm);
  if (trouble !== null) throw new Error(trouble.join(' ').trim());
  const find = (pattern: RegExp): string => {
    const found = pattern.exec(output)?.[1];
    if (found === undefined) throw new Error(`wrk said:\n${output}`);
    return found;
  };
  const requests = Number(find(/(\d+) requests in/));
  if (requests === 0) throw new Error('nothing was answered');
  return {
    requests,
    // Closed loop at full speed: the latencies say how busy it was, not how slow it is.
    seen: {
      'req/s': Number(find(/Requests\/sec:\s+([\d.]+)/)),
      p50: find(/^\s+50%\s+(\S+)/m),
      p99: find(/^\s+99%\s+(\S+)/m),
    },
  };
}
