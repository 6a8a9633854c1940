import { readFileSync, writeFileSync } from 'node:fs';
import { arch, cpus, release } from 'node:os';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import { Bed, chooseCores } from './bed.ts';
import { Comparison } from './comparison.ts';
import { withTable } from './markdown.ts';
import { MEASURES } from './measures.ts';
import { parseOptions, usage, type Options } from './options.ts';
import { printBusy, printFigures, printRows, type Figures, type Row } from './report.ts';
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
  const { markdown } = options;
  // Tried before the long run: a file that is not there, or has no place for the table, is said at once.
  if (markdown !== undefined) withTable(readFileSync(markdown, 'utf8'), [], '');
  const bed = new Bed(chooseCores());
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      bed.abort();
      process.exit(signal === 'SIGINT' ? 130 : 143);
    });
  }
  try {
    const comparisons = await measureAll(new Stand(bed, options.pace), options);
    const figures = comparisons.flatMap((comparison) => comparison.figures());
    const rows = comparisons.flatMap((comparison) => comparison.rows());
    publish(rows, figures, options);
    return rows.some(({ verdict }) => verdict === 'not measured') ? EXIT.failed : EXIT.done;
  } finally {
    await bed.close();
  }
}

async function measureAll(stand: Stand, { only, rounds }: Options): Promise<readonly Comparison[]> {
  const comparisons: Comparison[] = [];
  for (const measure of MEASURES.filter(({ name }) => only.includes(name))) {
    comparisons.push(await Comparison.prepare(measure, stand));
  }
  for (let round = 0; round < rounds; round++) {
    console.error(`round ${round + 1} of ${rounds}`);
    for (const comparison of comparisons) await comparison.run(round);
  }
  return comparisons;
}

function publish(
  rows: readonly Row[],
  figures: readonly Figures[],
  { rounds, pace: { seconds, quick }, json, markdown }: Options,
): void {
  const day = new Date().toISOString().slice(0, 10);
  const from = `${processor()}, ${day}, ${rounds} rounds of ${seconds} s, medians`;
  console.log(`${from}\n`);
  printFigures(figures);
  console.log();
  printRows(rows);
  printBusy(figures);
  if (json !== undefined) {
    const machine = {
      cpu: processor(),
      cores: cpus().length,
      kernel: release(),
      tcp: readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim(),
    };
    const whole = { machine, day, rounds, seconds, quick, rows, figures: figures.map(document) };
    writeFileSync(json, `${JSON.stringify(whole, null, 2)}\n`);
  }
  if (markdown !== undefined) {
    writeFileSync(markdown, withTable(readFileSync(markdown, 'utf8'), rows, `${from}:`));
  }
}

function processor(): string {
  return cpus()[0]?.model ?? arch();
}

function document({ measure, name, samples, unusable, error }: Figures): object {
  return {
    measure: measure.name,
    subject: name,
    units: Object.fromEntries(measure.units.map(({ key, name }) => [key, name])),
    error,
    unusable,
    rounds: samples,
  };
}
