import { isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { messageOf } from '#kit/errors.ts';
import { formatProblem, type Problem } from '#kit/problem.ts';
import { placedProblemsOf } from '../../registry/documents/problems.ts';

export interface SourceFile {
  readonly file: string;
  readonly text: string;
}

/** A problem with the file and line it is in. */
export interface FileProblem extends Problem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** `gateway.yaml:12: $.mesh.listne: wanted one of listen, advertise; got …`. */
export function formatFileProblem(problem: FileProblem): string {
  return `${problem.file}:${problem.line}: ${formatProblem(problem)}`;
}

export type Read<T> =
  | { readonly ok: true; readonly value: T; lineOf(path: readonly PropertyKey[]): number }
  | { readonly ok: false; readonly problems: readonly FileProblem[] };

/** One YAML (or JSON) document against its schema, or everything that is wrong with it. Never throws. */
export function readYaml<T>({ file, text }: SourceFile, schema: z.ZodType<T>): Read<T> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const refuse = (offset: number, got: string): Read<T> => {
    const { line } = lines.linePos(offset);
    return { ok: false, problems: [{ file, line, path: '$', wanted: 'valid YAML', got }] };
  };
  if (document.errors.length > 0) {
    // What follows the first error is mostly its echo.
    const { pos, message } = document.errors[0]!;
    return refuse(pos[0], message);
  }
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    // Aliases that unfold without end.
    return refuse(0, messageOf(error));
  }
  const lineOf = (path: readonly PropertyKey[]) =>
    lines.linePos(offsetOf(document.contents, path)).line;
  const parsed = schema.safeParse(value);
  if (parsed.success) return { ok: true, value: parsed.data, lineOf };
  const problems = placedProblemsOf(parsed.error.issues, value).map(({ steps, ...problem }) => ({
    ...problem,
    file,
    line: lineOf(steps),
  }));
  return { ok: false, problems: problems.toSorted((a, b) => a.line - b.line) };
}

/** Where the deepest part of the path begins that is there at all; for a field, at its name. */
function offsetOf(root: unknown, path: readonly PropertyKey[]): number {
  let node = root;
  let offset = isNode(root) ? (root.range?.[0] ?? 0) : 0;
  for (const step of path) {
    if (isSeq(node)) {
      node = node.items[Number(step)];
      if (isNode(node)) offset = node.range?.[0] ?? offset;
    } else if (isMap(node)) {
      const pair = node.items.find(
        ({ key }) => isScalar(key) && String(key.value) === String(step),
      );
      if (pair === undefined) break;
      offset = (isNode(pair.key) ? pair.key.range?.[0] : undefined) ?? offset;
      node = pair.value;
    } else {
      break;
    }
  }
  return offset;
}
