import { WAITED } from './core-watch.ts';
import type { Measure, Sample, Unit } from './measure.ts';

const BUSY_PERCENT = 5;

/** All rounds of one entrant of one measure. */
export interface Figures {
  readonly measure: Measure;
  readonly name: string;
  readonly samples: readonly Sample[];
  /** Why rounds of it do not count, one text for each. */
  readonly unusable: readonly string[];
  /** Why it could not be measured at all. */
  readonly error: string | undefined;
}

/** One line of the table that people read. */
export interface Row {
  /** As `--only` takes it. */
  readonly name: string;
  readonly measure: string;
  readonly unit: string;
  readonly oursName: string;
  readonly ours: number | null;
  readonly peerName: string;
  readonly peer: number | null;
  readonly ratio: number | null;
  readonly target: string;
  readonly verdict: 'met' | 'missed' | 'stated' | 'not measured';
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Rows of one of ours: for each unit one beside every peer, or one alone where there are none. */
export function rowsOf(
  ours: Figures,
  peers: readonly { readonly figures: Figures; readonly target: number | undefined }[],
): readonly Row[] {
  return ours.measure.units.flatMap((unit, at) => {
    if (peers.length === 0) return [rowOf(ours, unit, undefined, undefined)];
    return peers.map(({ figures, target }) =>
      rowOf(ours, unit, figures, at === 0 ? target : undefined),
    );
  });
}

/** The ratio is that of the medians; there is none where one of them is missing or not above zero. */
function rowOf(
  figures: Figures,
  unit: Unit,
  peerFigures: Figures | undefined,
  target: number | undefined,
): Row {
  const ours = medianOf(figures, unit);
  const peer = peerFigures === undefined ? null : medianOf(peerFigures, unit);
  const ratio = ours === null || peer === null || ours <= 0 || peer <= 0 ? null : ours / peer;
  return {
    name: figures.measure.name,
    measure: figures.measure.title,
    unit: unit.name,
    oursName: figures.name,
    ours,
    peerName: peerFigures?.name ?? '',
    peer,
    ratio,
    target: targetText(unit, target),
    verdict: verdictOf(unit, target, ours, peerFigures === undefined ? undefined : peer, ratio),
  };
}

function targetText({ atMost, name, better }: Unit, target: number | undefined): string {
  if (atMost !== undefined) return `≤ ${atMost} ${name.split(/[ /]/, 1)[0]!}`;
  return target === undefined ? '' : `${better === 'lower' ? '≤' : '≥'} ${target} ×`;
}

/** @param peer undefined: there is none; null: it was not measured */
function verdictOf(
  { atMost, better }: Unit,
  target: number | undefined,
  ours: number | null,
  peer: number | null | undefined,
  ratio: number | null,
): Row['verdict'] {
  if (ours === null || peer === null) return 'not measured';
  if (atMost !== undefined) return ours <= atMost ? 'met' : 'missed';
  if (target === undefined) return 'stated';
  if (ratio === null) return 'not measured';
  return (better === 'lower' ? ratio <= target : ratio >= target) ? 'met' : 'missed';
}

function medianOf({ samples }: Figures, { key }: Unit): number | null {
  return samples.length === 0 ? null : median(samples.map(({ values }) => values[key]!));
}

export function printRows(rows: readonly Row[]): void {
  const header = ['measure', 'unit', 'gatemesh', '', 'peer', '', 'ratio', 'target', ''];
  const cells = rows.map((row) => [
    ...[row.measure, row.unit, number(row.ours), row.oursName],
    ...[row.peerName === '' ? '' : number(row.peer), row.peerName],
    ...[ratioText(row), row.target, row.verdict],
  ]);
  printTable([header, ...cells], [2, 4, 6]);
}

/** Every entrant with its spread: where lowest and highest lie far apart the machine was busy. */
export function printFigures(figures: readonly Figures[]): void {
  const header = ['measure', 'of', 'median', 'lowest', 'highest', 'unit', 'seen besides'];
  const cells = figures.flatMap(({ measure, name, samples, unusable, error }) => {
    if (samples.length === 0) {
      return [[measure.name, name, '-', '', '', '', error ?? unusable[0] ?? 'not reached']];
    }
    return measure.units.map((unit, at) => {
      const values = samples.map(({ values }) => values[unit.key]!);
      const besides = at > 0 ? '' : [...seen(samples), ...left(unusable)].join(', ');
      return [
        ...[measure.name, name, number(median(values))],
        ...[number(Math.min(...values)), number(Math.max(...values)), unit.name, besides],
      ];
    });
  });
  printTable([header, ...cells], [2, 3, 4]);
}

/** Says so when the proxies had to wait for their core more than figures can bear. */
export function printBusy(figures: readonly Figures[]): void {
  const shares = figures.flatMap(({ samples }) => samples.map(({ seen }) => seen[WAITED]));
  const numbers = shares.filter((share) => typeof share === 'number');
  if (numbers.length === 0 || median(numbers) <= BUSY_PERCENT) return;
  console.log(
    `\nThe machine was busy: the proxies waited ${number(median(numbers))} % of the time for their core. Latencies and throughput say nothing then; processor time says little.`,
  );
}

/** Medians of the numbers; texts are those of the middle round. */
function seen(samples: readonly Sample[]): readonly string[] {
  const middle = samples[samples.length >> 1]!;
  return Object.entries(middle.seen).map(([key, value]) => {
    if (typeof value === 'string') return `${key} ${value}`;
    return `${key} ${number(median(samples.map(({ seen }) => Number(seen[key]))))}`;
  });
}

function left(unusable: readonly string[]): readonly string[] {
  return unusable.length === 0 ? [] : [`${unusable.length} rounds left out: ${unusable[0]!}`];
}

function ratioText({ ratio, peerName }: Row): string {
  if (peerName === '') return '';
  return ratio === null ? '-' : ratio.toFixed(2);
}

/** Three digits or so, which is more than is meant. */
export function number(value: number | null): string {
  if (value === null) return '-';
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** @param right columns of numbers */
function printTable(rows: readonly (readonly string[])[], right: readonly number[]): void {
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  for (const row of rows) {
    const line = row.map((cell, column) =>
      right.includes(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
    );
    console.log(`  ${line.join('  ')}`.trimEnd());
  }
}
