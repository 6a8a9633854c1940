import { writeFileSync } from 'node:fs';
import { arch, cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import { nearest } from '#kit/nearest.ts';
import { Bed, chooseCores } from './bed.ts';
import { makeCertificates } from './certificates.ts';
import { startFastify } from './fastify.ts';
import { startGatemesh, type GatemeshSubjects } from './gatemesh.ts';
import { startHaproxy } from './haproxy.ts';
import { Comparison } from './comparison.ts';
import { MEASURES, REST, type Peers } from './measures.ts';
import { startNginx } from './nginx.ts';
import { startOrigin } from './origin.ts';
import { printFigures, printRows, type Figures, type Row } from './report.ts';

const USAGE = `usage: npm run bench [-- OPTIONS]
  --only NAME     one measure, or several by comma: ${[...MEASURES, REST].map(({ name }) => name).join(', ')}
  --rounds N      rounds of every measure (default 5); the figures are their medians
  --seconds N     length of one round of one subject (default 2)
  --quick         one round of one second: shows that it works, not how fast
  --json FILE     all figures, every round, for programs`;

interface Options {
  readonly only: readonly string[];
  readonly rounds: number;
  readonly seconds: number;
  readonly json: string | undefined;
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options !== undefined) process.exitCode = await bench(options);
} catch (error) {
  console.error(error instanceof MeshError ? error.message : `bench: ${messageOf(error)}`);
  process.exitCode = error instanceof MeshError ? error.exitCode : EXIT.failed;
}

function parseOptions(argv: readonly string[]): Options | undefined {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        only: { type: 'string', multiple: true, default: [] },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        quick: { type: 'boolean', default: false },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }));
  } catch (error) {
    throw usageError(messageOf(error));
  }
  if (values.help) {
    console.log(USAGE);
    return undefined;
  }
  const names = [...MEASURES, REST].map(({ name }) => name);
  const only = values.only.flatMap((list) => list.split(','));
  for (const name of only) {
    if (names.includes(name)) continue;
    const hint = nearest(name, names);
    throw usageError(
      `--only: no measure "${name}"${hint === undefined ? '' : `. Did you mean "${hint}"?`}`,
    );
  }
  return {
    only: only.length === 0 ? names : only,
    rounds: count('--rounds', values.rounds, values.quick ? 1 : 5),
    seconds: count('--seconds', values.seconds, values.quick ? 1 : 2),
    json: values.json,
  };
}

function count(flag: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1) return value;
  throw usageError(`${flag}: wanted an integer >= 1; got "${text}"`);
}

function usageError(problem: string): MeshError {
  return new MeshError('usage', `bench: ${problem}\n${USAGE}`, { exitCode: EXIT.usage });
}

/** @returns the exit code: 1 when something could not be measured; a missed target is a figure, not a failure */
async function bench({ only, rounds, seconds, json }: Options): Promise<number> {
  const bed = new Bed(chooseCores());
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      bed.abort();
      process.exit(signal === 'SIGINT' ? 130 : 143);
    });
  }
  try {
    const certificates = makeCertificates(bed);
    const origin = await startOrigin(bed);
    const peers: Peers = {
      nginx: await startNginx(bed, origin, certificates),
      haproxy: await startHaproxy(bed, origin, certificates),
      fastify: await startFastify(bed, origin),
    };
    let gatemesh: GatemeshSubjects | undefined;
    try {
      gatemesh = await startGatemesh(bed, origin, certificates);
    } catch (error) {
      console.log(`gatemesh did not start, so only the peers are measured: ${messageOf(error)}\n`);
    }
    const restMb = gatemesh === undefined ? undefined : REST.value(gatemesh);
    const chosen = MEASURES.filter(({ name }) => only.includes(name));
    const comparisons = chosen.map((one) => new Comparison(one, peers, gatemesh));
    for (let round = 0; round < rounds; round++) {
      for (const comparison of comparisons) await comparison.run(round, bed.cores.load, seconds);
    }
    const figures = comparisons.flatMap((comparison) => comparison.figures());
    const rows = comparisons.flatMap((comparison) => comparison.rows());
    if (only.includes(REST.name)) rows.push(restRow(restMb));
    console.log(`${cpus()[0]?.model ?? arch()}, ${rounds} rounds of ${seconds} s, medians\n`);
    if (figures.length > 0) {
      printFigures(figures);
      console.log();
    }
    printRows(rows);
    if (json !== undefined) writeFileSync(json, document(rows, figures, rounds, seconds));
    return rows.some(({ verdict }) => verdict === 'not measured') ? EXIT.failed : EXIT.done;
  } finally {
    await bed.close();
  }
}

function restRow(mb: number | undefined): Row {
  const verdict = mb === undefined ? 'not measured' : mb <= REST.targetMb ? 'met' : 'missed';
  return {
    measure: REST.title,
    unit: REST.unit,
    ours: mb ?? null,
    peerName: '',
    peer: null,
    ratio: null,
    target: `≤ ${REST.targetMb} MB`,
    verdict,
  };
}

function document(
  rows: readonly Row[],
  figures: readonly Figures[],
  rounds: number,
  seconds: number,
): string {
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, kernel: release() };
  const all = figures.map(({ measure: { name, unit }, subject, samples, error }) => ({
    measure: name,
    subject: subject.name,
    unit: unit.name,
    error,
    rounds: samples.map((sample) => ({ value: unit.value(sample), ...sample })),
  }));
  return `${JSON.stringify({ machine, rounds, seconds, rows, figures: all }, null, 2)}\n`;
}
