import { writeFileSync } from 'node:fs';
import { arch, cpus, release } from 'node:os';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import { Bed, chooseCores } from './bed.ts';
import { Comparison } from './comparison.ts';
import { MEASURES } from './measures.ts';
import { parseOptions, usage, type Options } from './options.ts';
import { printFigures, printRows, type Figures, type Row } from './report.ts';
import { Stand } from './stand.ts';

const NAMES = MEASURES.map(({ name }) => name);

try {
  const options = parseOptions(process.argv.slice(2), NAMES);
  if (options === undefined) console.log(usage(NAMES));
  else process.exitCode = await bench(options);
} catch (error) {
  console.error(error instanceof MeshError ? error.message : `bench: ${messageOf(error)}`);
  process.exitCode = error instanceof MeshError ? error.exitCode : EXIT.failed;
}

/** @returns the exit code: 1 when something could not be measured; a missed target is a figure, not a failure */
async function bench(options: Options): Promise<number> {
  const bed = new Bed(chooseCores());
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      bed.abort();
      process.exit(signal === 'SIGINT' ? 130 : 143);
    });
  }
  try {
    const { only, rounds, pace, json } = options;
    const stand = new Stand(bed, pace);
    const comparisons: Comparison[] = [];
    for (const measure of MEASURES.filter(({ name }) => only.includes(name))) {
      comparisons.push(await Comparison.prepare(measure, stand));
    }
    for (let round = 0; round < rounds; round++) {
      for (const comparison of comparisons) await comparison.run(round);
    }
    const figures = comparisons.flatMap((comparison) => comparison.figures());
    const rows = comparisons.flatMap((comparison) => comparison.rows());
    console.log(`${processor()}, ${rounds} rounds of ${pace.seconds} s, medians\n`);
    printFigures(figures);
    console.log();
    printRows(rows);
    if (json !== undefined) writeFileSync(json, document(rows, figures, options));
    return rows.some(({ verdict }) => verdict === 'not measured') ? EXIT.failed : EXIT.done;
  } finally {
    await bed.close();
  }
}

function processor(): string {
  return cpus()[0]?.model ?? arch();
}

function document(
  rows: readonly Row[],
  figures: readonly Figures[],
  { rounds, pace }: Options,
): string {
  const machine = { cpu: processor(), cores: cpus().length, kernel: release() };
  const all = figures.map(({ measure, name, samples, unusable, error }) => ({
    measure: measure.name,
    subject: name,
    units: Object.fromEntries(measure.units.map(({ key, name }) => [key, name])),
    error,
    unusable,
    rounds: samples,
  }));
  return `${JSON.stringify({ machine, rounds, ...pace, rows, figures: all }, null, 2)}\n`;
}
