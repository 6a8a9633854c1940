import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Unusable } from '../measure.ts';
import type { Subject } from '../subjects/subject.ts';
import type { OpenLoopLoad } from './open-loop-main.ts';
import type { OpenLoopReport } from './open-loop.ts';

const run = promisify(execFile);
const PROGRAM = join(import.meta.dirname, 'open-loop-main.ts');
/** A run in which the generator was later than this says nothing about the proxy. */
const LATE_P99_US = 100;
const TRIES = 3;

export interface FixedRate {
  readonly perSecond: number;
  readonly seconds: number;
  readonly connections: number;
}

/**
 * One run of the open-loop generator from one core, after a second of warm-up.
 *
 * @throws Unusable when the generator was late each time it tried
 */
export async function fixedRate(
  { name, url, host }: Subject,
  { perSecond, seconds, connections }: FixedRate,
  core: number,
): Promise<OpenLoopReport> {
  const { port, host: authority } = new URL(url);
  const load: OpenLoopLoad = {
    port: Number(port),
    host: host ?? authority,
    path: '/',
    perSecond,
    warmUp: perSecond,
    count: perSecond * seconds,
    connections,
  };
  // SCHED_IDLE: it never sleeps, and the origin on the same core must not wait for it.
  const command = ['chrt', '--idle', '0', process.execPath, PROGRAM, JSON.stringify(load)];
  let late = 0;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const { stdout } = await run('taskset', ['-c', String(core), ...command]);
    const report = JSON.parse(stdout) as OpenLoopReport;
    if (report.lateP99 <= LATE_P99_US) return report;
    late = report.lateP99;
  }
  throw new Unusable(
    `${name}: the generator was late itself, p99 ${late.toFixed(0)} µs (at most ${LATE_P99_US})`,
  );
}
