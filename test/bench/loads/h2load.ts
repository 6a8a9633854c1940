import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Bed } from '../bed.ts';
import type { Driven, Driver } from '../methods/cpu.ts';
import type { Subject } from '../subjects/subject.ts';

const run = promisify(execFile);

export interface H2load {
  readonly connections: number;
  /** Requests under way on each connection. */
  readonly streams: number;
  readonly path?: string;
  /** `name: value` lines. */
  readonly headers?: readonly string[];
  /** Posted. */
  readonly body?: Buffer;
  /** What an answer must have, where its status does not say that it is right: a failed gRPC call is 200 without a body. */
  readonly answerBytes?: number;
}

/** HTTP/2, in a closed loop at full speed: with TLS by ALPN, else with prior knowledge. */
export function h2load(load: H2load): Driver {
  const { connections, streams, headers = [], body, answerBytes = 0 } = load;
  return async (subject, bed, seconds) => {
    const result = await h2loadRun(subject, bed, load.path, [
      ...['--npn-list=h2', `-c${connections}`, `-m${streams}`, `-D${seconds}`],
      ...headers.flatMap((header) => ['-H', header]),
      ...(body === undefined ? [] : ['-d', bed.file('h2load-body', body)]),
    ]);
    if (result.bodyBytes < result.requests * answerBytes) {
      throw new Error(`${subject.name}: answers of fewer than ${answerBytes} bytes`);
    }
    return driven(result);
  };
}

/** How often connections are begun; each is closed by the client after its one request. */
const CONNECTIONS_PER_BATCH = 50;
const BATCH_MS = 50;

/** New connections at a fixed rate, with one HTTP/1.1 request each. Nothing is resumed: h2load keeps no sessions. */
export function newConnections(): Driver {
  return async (subject, bed, seconds) => {
    const connections = (seconds * 1e3 * CONNECTIONS_PER_BATCH) / BATCH_MS;
    const result = await h2loadRun(subject, bed, '/', [
      ...['--h1', `-n${connections}`, `-c${connections}`],
      ...[`-r${CONNECTIONS_PER_BATCH}`, `--rate-period=${BATCH_MS}ms`],
    ]);
    return driven(result);
  };
}

function driven({ requests, perSecond, meanTime }: H2loadResult): Driven {
  return { requests, seen: { 'req/s': perSecond, mean: meanTime } };
}

async function h2loadRun(
  { name, url, host }: Subject,
  { cores }: Bed,
  path = '/',
  args: readonly string[],
): Promise<H2loadResult> {
  const { protocol, host: address } = new URL(url);
  const target = `${protocol}//${host ?? address}${path}`;
  const { stdout } = await run('taskset', [
    ...['-c', String(cores.load), 'h2load', '-t1', ...args, `--connect-to=${address}`, target],
  ]);
  try {
    if (protocol === 'https:' && !/^TLS Protocol: TLSv1\.3$/m.test(stdout)) {
      throw new Error('it was not TLS 1.3');
    }
    return parseH2load(stdout);
  } catch (error) {
    throw new Error(`${name} at ${url}${path}: ${(error as Error).message}`, { cause: error });
  }
}

export interface H2loadResult {
  readonly requests: number;
  readonly perSecond: number;
  /** Of all answers, without heads. */
  readonly bodyBytes: number;
  /** As h2load prints it: `640us`. */
  readonly meanTime: string;
}

/** @throws when a request failed or was not 2xx, or h2load did not say what it says */
export function parseH2load(output: string): H2loadResult {
  const find = (pattern: RegExp): readonly string[] => {
    const found = pattern.exec(output);
    if (found === null) throw new Error(`h2load said:\n${output}`);
    return found.slice(1);
  };
  const [line] = find(/^(requests: .*)$/m);
  const [done, failed, errored, timeout] = find(
    /^requests: .* (\d+) done, .* (\d+) failed, (\d+) errored, (\d+) timeout$/m,
  ).map(Number);
  const [statuses, ...others] = find(/^(status codes: .*, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx)$/m);
  if (done === undefined || done === 0) throw new Error('nothing was answered');
  if (failed! + errored! + timeout! > 0 || others.some((count) => count !== '0')) {
    throw new Error(`${line}; ${statuses}`);
  }
  const [perSecond] = find(/^finished in \S+ ([\d.]+) req\/s/m);
  const [bodyBytes] = find(/^traffic: .*\((\d+)\) data$/m);
  const [meanTime] = find(/^time for request: +\S+ +\S+ +(\S+)/m);
  return {
    requests: done,
    perSecond: Number(perSecond),
    bodyBytes: Number(bodyBytes),
    meanTime: meanTime!,
  };
}
