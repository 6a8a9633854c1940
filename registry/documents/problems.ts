import type { z } from 'zod';
import { nearest } from '#kit/nearest.ts';
import { describe, type Problem } from '#kit/problem.ts';

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

/** What an object's error text carries when fields are unknown, as JSON, since zod hands on nothing else. */
export interface FieldNames {
  readonly known: readonly string[];
  /** Fields of the target schema that this version does not have. */
  readonly later: readonly string[];
}

/** A problem with the steps to its place, for those who can turn them into a line. */
export interface PlacedProblem extends Problem {
  readonly steps: Path;
}

/**
 * zod's issues in the project's form. The schemas give each field what was wanted as its error text
 * (`fields.ts`); what was there is looked up in `document`.
 */
export function placedProblemsOf(issues: readonly Issue[], document: unknown): PlacedProblem[] {
  return issues.flatMap((issue) => fromIssue(issue, [], document));
}

export function problemsOf(issues: readonly Issue[], document: unknown): Problem[] {
  return placedProblemsOf(issues, document).map(({ steps: _steps, ...rest }) => rest);
}

function fromIssue(issue: Issue, base: Path, document: unknown): PlacedProblem[] {
  const path = [...base, ...issue.path];
  const value = valueAt(document, path);
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownField(key, path, JSON.parse(issue.message)));
    case 'invalid_union': {
      const fitting = issue.errors.find((branch) => !branch.some(isOtherType));
      if (fitting === undefined) break;
      return fitting.flatMap((inner) => fromIssue(inner, path, document));
    }
    case 'invalid_key':
      return [
        problem(
          path,
          issue.issues[0]?.message ?? issue.message,
          `the name ${JSON.stringify(path.at(-1))}`,
        ),
      ];
    case 'invalid_value': {
      const near = typeof value === 'string' ? nearest(value, issue.values.map(String)) : undefined;
      return [problem(path, issue.message, describe(value), near)];
    }
    case 'custom': {
      const { got, hint } = (issue.params ?? {}) as { got?: string; hint?: string };
      return [problem(path, issue.message, got ?? describe(value), hint)];
    }
    case 'invalid_type':
    case 'too_big':
    case 'too_small':
    case 'invalid_format':
    case 'not_multiple_of':
    case 'invalid_element':
      break;
  }
  return [problem(path, issue.message, describe(value))];
}

/** The branch of a union is meant for another type of value altogether. */
function isOtherType(issue: Issue): boolean {
  if (issue.path.length > 0) return false;
  if (issue.code !== 'invalid_union') return issue.code === 'invalid_type';
  return issue.errors.every((branch) => branch.some(isOtherType));
}

function problem(steps: Path, wanted: string, got: string, hint?: string): PlacedProblem {
  const path = jsonPath(steps);
  return { path, steps, wanted, got, ...(hint === undefined ? {} : { hint }) };
}

function unknownField(key: string, path: Path, { known, later }: FieldNames): PlacedProblem {
  const at = [...path, key];
  const wanted = `one of ${known.join(', ')}`;
  if (later.includes(key)) {
    return problem(at, wanted, `${JSON.stringify(key)}, which is not supported by this version`);
  }
  return problem(at, wanted, `the unknown field ${JSON.stringify(key)}`, nearest(key, known));
}

function valueAt(document: unknown, path: Path): unknown {
  let value = document;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) {
      return undefined;
    }
    value = (value as Record<PropertyKey, unknown>)[step];
  }
  return value;
}

/**
 * The JSON path in `document`, which may have a short form, of a place in the long form: `$.to` for
 * the steps `to`, 0, `service` where somebody wrote `"to": "web"`.
 */
export function writtenPath(steps: Path, document: unknown): string {
  const written: PropertyKey[] = [];
  let value = document;
  for (const step of steps) {
    // One alone instead of a list of one.
    if (typeof step === 'number' && !Array.isArray(value)) continue;
    // A text that says all of it.
    if (typeof value !== 'object' || value === null) break;
    written.push(step);
    value = (value as Record<PropertyKey, unknown>)[step];
  }
  return jsonPath(written);
}

/** `$.to[1].weight`, `$.subsets["v1.0"]`. */
export function jsonPath(path: Path): string {
  let text = '$';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(String(step))) text += `.${String(step)}`;
    else text += `[${JSON.stringify(String(step))}]`;
  }
  return text;
}
