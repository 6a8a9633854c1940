import { number, type Row } from './report.ts';

const BEGIN = '<!-- bench: begin -->';
const END = '<!-- bench: end -->';

/**
 * Puts the rows, with a line that says where they are from, between the two marks of a document.
 *
 * @throws when the marks are not there
 */
export function withTable(document: string, rows: readonly Row[], from: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`it needs the lines "${BEGIN}" and "${END}"`);
  const head = document.slice(0, begin + BEGIN.length);
  return `${head}\n\n${from}\n\n${markdownTable(rows)}\n\n${document.slice(end)}`;
}

/** In Prettier's form, so that the document stays formatted. */
function markdownTable(rows: readonly Row[]): string {
  const header = ['measure', 'unit', 'gatemesh', 'peer', '', 'ratio', 'target', ''];
  const cells = rows.map((row) => [
    ...[nameOf(row), row.unit, number(row.ours)],
    ...[row.peerName, row.peerName === '' ? '' : number(row.peer)],
    ...[row.ratio === null ? '' : row.ratio.toFixed(2), row.target, row.verdict],
  ]);
  const isRight = (column: number): boolean => [2, 4, 5].includes(column);
  const widths = header.map((name, column) =>
    Math.max(3, name.length, ...cells.map((row) => row[column]!.length)),
  );
  const line = (row: readonly string[]): string => {
    const padded = row.map((cell, column) =>
      isRight(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
    );
    return `| ${padded.join(' | ')} |`;
  };
  const rule = widths.map((width, column) =>
    isRight(column) ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width),
  );
  return [line(header), line(rule), ...cells.map(line)].join('\n');
}

/** What is measured, and which of ours where that is not plain. */
function nameOf({ measure, oursName }: Row): string {
  return oursName.endsWith(' edge') ? `${measure} (edge)` : measure;
}
