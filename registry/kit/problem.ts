import { inspect } from 'node:util';

/** One thing wrong with something a person wrote: where, what was wanted, what was there, and the nearest right word. */
export interface Problem {
  /** JSON path inside the document: `$.to[1].weight`. `$` is the document itself. */
  readonly path: string;
  /** What was wanted: `a duration such as "250ms", "5s" or "24h"`. */
  readonly wanted: string;
  /** What was there, shortened: `"1"`, `nothing`, `a list of 3`. */
  readonly got: string;
  /** The near miss, when there is one: `weight`. */
  readonly hint?: string;
}

/** `$.to[1].weigth: wanted one of service, subset, weight; got the unknown field "weigth". Did you mean "weight"?` */
export function formatProblem(problem: Problem): string {
  const { path, wanted, got, hint } = problem;
  return `${path}: wanted ${wanted}; got ${got}${hint === undefined ? '' : `. Did you mean "${hint}"?`}`;
}

/** Names the type, and the value when it is short; never echoes a whole document into a log. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object') return 'an object';
  // Not JSON for numbers: it writes NaN and Infinity as null.
  const text = typeof value === 'string' ? JSON.stringify(value) : inspect(value);
  return text.length <= 60 ? text : `a ${typeof value} of ${text.length} characters`;
}
