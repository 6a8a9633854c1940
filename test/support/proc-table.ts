import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessInfo {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly command: string;
  /** User and system time of all threads, in clock ticks (1/100 s on every Linux that Node runs on). */
  readonly ticks: number;
}

/** Every live process as /proc shows it; none on a machine without /proc. Zombies have ended. */
export function allProcesses(): readonly ProcessInfo[] {
  return pids().flatMap((pid) => processInfo(pid) ?? []);
}

/** Undefined when there is no such process, or it is a zombie. */
export function processInfo(pid: number): ProcessInfo | undefined {
  const stat = read(`/proc/${pid}/stat`);
  // proc(5): "pid (comm) state ppid pgrp …"; comm may itself contain spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (stat === '' || fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
  return {
    pid,
    parent: Number(fields[1]),
    group: Number(fields[2]),
    command: command === '' ? stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')) : command,
    ticks: Number(fields[11]) + Number(fields[12]),
  };
}

/**
 * Those of a process group, and those that carry `marker` (`NAME=value`) in their environment: a daemon
 * leaves the group of whoever started it, but takes the environment along.
 */
export function processesOf(group: number, marker: string): readonly ProcessInfo[] {
  return allProcesses().filter(
    (info) =>
      info.pid !== process.pid &&
      (info.group === group || read(`/proc/${info.pid}/environ`).split('\0').includes(marker)),
  );
}

function pids(): readonly number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
