/** What the micro-benchmarks share. They print and check nothing: run one alone, on a quiet machine. */

/** CPU ns per call, after a warm-up of a quarter as many. */
export function nsPerCall(rounds: number, call: (i: number) => unknown): number {
  let kept: unknown;
  for (let i = 0; i < rounds / 4; i++) kept = call(i);
  const took = cpuMs(() => {
    for (let i = 0; i < rounds; i++) kept = call(i);
  });
  // Read, so that the calls cannot be thrown away.
  if (kept === Symbol.iterator) throw new Error('impossible');
  return (took * 1e6) / rounds;
}

/** CPU time and not time on the wall: what else runs on the machine counts less. */
export function cpuMs(run: () => unknown): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e3;
}

/** One line of figures. */
export function row(what: string, value: number, unit: string): void {
  process.stdout.write(
    `${what.padEnd(64)} ${value.toFixed(value < 10 ? 2 : 0).padStart(8)} ${unit}\n`,
  );
}
