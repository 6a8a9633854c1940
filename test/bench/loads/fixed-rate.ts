import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Unusable } from '../measure.ts';
import type { Subject } from '../subjects/subject.ts';
import type { OpenLoopLoad, OpenLoopRun } from './open-loop-main.ts';

const run = promisify(execFile);
const PROGRAM = join(import.meta.dirname, 'open-loop-main.ts');
/**
 * With more of it gone the p99 is that of the machine. How late requests were sent is no reason: where a proxy stood still, its
 * answers come all at once, and keep the generator from what is due.
 */
const AWAY_PERCENT = 3;
const TRIES = 3;

export interface FixedRate {
  readonly perSecond: number;
  readonly seconds: number;
  readonly connections: number;
}

/**
 * One run of the open-loop generator from one core, after a second of warm-up.
 *
 * @param beside processes that belong on that core
 * @throws Unusable when others had too much of the core each time it tried
 */
export async function fixedRate(
  { name, url, host }: Subject,
  { perSecond, seconds, connections }: FixedRate,
  core: number,
  beside: readonly number[],
): Promise<OpenLoopRun> {
  const { port, host: authority } = new URL(url);
  const load: OpenLoopLoad = {
    port: Number(port),
    host: host ?? authority,
    path: '/',
    perSecond,
    warmUp: perSecond,
    count: perSecond * seconds,
    connections,
    beside,
  };
  // SCHED_IDLE: it never sleeps, and the origin on the same core must not wait for it.
  const command = ['chrt', '--idle', '0', process.execPath, PROGRAM, JSON.stringify(load)];
  let away = 0;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const { stdout } = await run('taskset', ['-c', String(core), ...command]);
    const report = JSON.parse(stdout) as OpenLoopRun;
    if (report.awayPercent <= AWAY_PERCENT) return report;
    away = report.awayPercent;
  }
  throw new Unusable(
    `${name}: other processes had ${away.toFixed(1)} % of the load's core (at most ${AWAY_PERCENT})`,
  );
}
