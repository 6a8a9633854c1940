import type { Measure } from './measures.ts';
import type { Sample } from './load.ts';
import type { Subject } from './subject.ts';

/** All rounds of one subject under one measure; what went wrong instead of samples. */
export interface Figures {
  readonly measure: Measure;
  readonly subject: Subject;
  readonly samples: readonly Sample[];
  readonly error: string | undefined;
}

/** One line of the table that people read. */
export interface Row {
  readonly measure: string;
  readonly unit: string;
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

/** The ratio of the medians; undefined where one of the two was not measured. */
export function rowOf(
  measure: Measure,
  ours: Figures | undefined,
  peer: Figures,
  target: number | undefined,
): Row {
  const ourMedian = medianOf(ours);
  const peerMedian = medianOf(peer);
  const ratio = ourMedian === null || peerMedian === null ? null : ourMedian / peerMedian;
  const lower = measure.unit.better === 'lower';
  const met = ratio !== null && target !== undefined && (lower ? ratio <= target : ratio >= target);
  return {
    measure: measure.title + (ours?.subject.name.endsWith('edge') === true ? ' (edge)' : ''),
    unit: measure.unit.name,
    ours: ourMedian,
    peerName: peer.subject.name,
    peer: peerMedian,
    ratio,
    target: target === undefined ? '' : `${lower ? '≤' : '≥'} ${target}`,
    verdict:
      ratio === null ? 'not measured' : target === undefined ? 'stated' : met ? 'met' : 'missed',
  };
}

function medianOf(figures: Figures | undefined): number | null {
  if (figures === undefined || figures.samples.length === 0) return null;
  return median(figures.samples.map((sample) => figures.measure.unit.value(sample)));
}

export function printRows(rows: readonly Row[]): void {
  const header = ['measure', 'unit', 'ours', 'peer', '', 'ratio', 'target', ''];
  const cells = rows.map((row) => [
    row.measure,
    row.unit,
    number(row.ours),
    number(row.peer),
    row.peerName,
    row.ratio === null ? '-' : row.ratio.toFixed(2),
    row.target,
    row.verdict,
  ]);
  printTable([header, ...cells], [2, 3, 5]);
}

export function printFigures(figures: readonly Figures[]): void {
  const header = [
    'measure',
    'subject',
    'median',
    'lowest',
    'highest',
    'unit',
    'req/s',
    'p50',
    'p99',
    'aside',
  ];
  const cells = figures.map(({ measure, subject, samples, error }) => {
    if (samples.length === 0) return [measure.name, subject.name, '-', '', '', error ?? ''];
    const values = samples.map((sample) => measure.unit.value(sample));
    const busy = samples[samples.length >> 1]!;
    const aside = samples.map((sample) => (sample.asideSeconds * 1e6) / sample.requests);
    return [
      ...[measure.name, subject.name, number(median(values)), number(Math.min(...values))],
      ...[number(Math.max(...values)), measure.unit.name],
      median(samples.map(({ perSecond }) => perSecond)).toFixed(0),
      ...[busy.p50, busy.p99],
      subject.aside.length === 0 ? '' : `supervisor ${median(aside).toFixed(2)} µs`,
    ];
  });
  printTable([header, ...cells], [2, 3, 4, 6, 7, 8]);
}

function number(value: number | null): string {
  if (value === null) return '-';
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function printTable(rows: readonly (readonly string[])[], right: readonly number[]): void {
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((row) => (row.length > 6 || column < 5 ? (row[column] ?? '').length : 0))),
  );
  for (const row of rows) {
    const line = row.map((cell, column) =>
      right.includes(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
    );
    console.log(`  ${line.join('  ')}`.trimEnd());
  }
}
