/** Columns two spaces apart, each as wide as its widest cell; the last one is not padded. */
export function table(rows: readonly (readonly string[])[], indent = ''): string[] {
  const cells = rows.map((row) => row.map(printable));
  const widths: number[] = [];
  for (const row of cells) {
    row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  }
  return cells.map((row) =>
    (indent + row.map((cell, i) => cell.padEnd(widths[i]!)).join('  ')).trimEnd(),
  );
}

/** Control characters as escapes: what others wrote must not move the cursor or fake a line. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are the point
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]/g, (character) => {
    const code = character.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, '0')}`;
  });
}

/** What others wrote over several lines, on one. */
export function oneLine(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .reduce((before, line) => before + (before.endsWith(':') ? ' ' : '; ') + line);
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['m', 60],
  ['s', 1],
] as const;

/** Roughly, for people: the two largest units. `2h 3m`, `45s`, `0.4s`. */
export function roughly(seconds: number): string {
  if (seconds < 10) return `${Math.max(0, Math.floor(seconds * 10) / 10)}s`;
  const first = UNITS.findIndex(([, size]) => seconds >= size);
  let rest = Math.floor(seconds);
  const parts: string[] = [];
  for (const [unit, size] of UNITS.slice(first, first + 2)) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count}${unit}`);
  }
  return parts.join(' ');
}

/** `in 2h 3m` or `2h 3m ago`, from an RFC 3339 time. */
export function relative(time: string, nowMs: number): string {
  const seconds = (Date.parse(time) - nowMs) / 1_000;
  if (Number.isNaN(seconds)) return printable(time);
  return seconds >= 0 ? `in ${roughly(seconds)}` : `${roughly(-seconds)} ago`;
}
