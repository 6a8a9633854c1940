/** What the demo writes to the terminal: calm, aligned, one idea a line. */
export interface Screen {
  title(text: string): void;
  /** Rows of cells; each column as wide as its widest cell. */
  table(rows: readonly (readonly string[])[]): void;
  line(text?: string): void;
  /** A step of the tour begins. */
  step(text: string): void;
  /** What was seen in a step, and whether it is as it should be. */
  result(ok: boolean, text: string): void;
}

const WIDTH_OF_RESULT = 6;

export function screen(write: (text: string) => void, colours: boolean): Screen {
  const paint = (code: number, text: string): string =>
    colours ? `\u001B[${code}m${text}\u001B[0m` : text;
  const line = (text = ''): void => write(`${text}\n`);
  return {
    line,
    title(text) {
      line();
      line(paint(1, text));
    },
    table(rows) {
      const widths: number[] = [];
      for (const row of rows) {
        for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
      }
      for (const row of rows) {
        line(`  ${row.map((cell, i) => cell.padEnd(widths[i]!)).join('  ')}`.trimEnd());
      }
    },
    step(text) {
      line();
      line(`  ${paint(1, text)}`);
    },
    result(ok, text) {
      const mark = (ok ? 'OK' : 'FAILED').padEnd(WIDTH_OF_RESULT);
      line(`    ${paint(ok ? 32 : 31, mark)}  ${text}`);
    },
  };
}
