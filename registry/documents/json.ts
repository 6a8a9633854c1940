import {
  parseTree,
  printParseErrorCode,
  createScanner,
  type Node,
  type ParseError,
} from 'jsonc-parser';
import { nearest } from '#kit/nearest.ts';
import type { Problem } from '#kit/problem.ts';

const LONGEST_BYTES = 256 * 1024;
const DEEPEST = 32;
/** More helps nobody, and a hostile document must not fill every gateway's status. */
export const MOST_PROBLEMS = 20;

export type Json =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * The value of a JSON text; comments, trailing commas and a byte order mark are fine. Never throws.
 * Refuses what JSON.parse lets through and people trip over: a field given twice, and `__proto__`.
 */
export function parseJson(text: string, longestBytes = LONGEST_BYTES): Json {
  const bytes = Buffer.byteLength(text);
  if (bytes > longestBytes) {
    const wanted = `a document of at most ${longestBytes / 1024} KiB`;
    return refused(wanted, `${Math.ceil(bytes / 1024)} KiB`);
  }
  const source = text.startsWith('\ufeff') ? text.slice(1) : text;
  // Before parseTree, which recurses and would overflow the stack.
  if (isTooDeep(source)) return refused(`at most ${DEEPEST} levels of nesting`, 'more');

  const errors: ParseError[] = [];
  const tree = parseTree(source, errors, { allowTrailingComma: true });
  // What follows the first syntax error is mostly its echo.
  const error = errors[0];
  if (error !== undefined) return { ok: false, problems: [syntaxProblem(source, error)] };
  if (tree === undefined) return refused('a JSON object', 'nothing');
  const problems: Problem[] = [];
  const value = valueOf(tree, '$', source, problems);
  return problems.length === 0 ? { ok: true, value } : { ok: false, problems };
}

function refused(wanted: string, got: string): Json {
  return { ok: false, problems: [{ path: '$', wanted, got }] };
}

/** The scanner's SyntaxKind.EOF, which the package has at compile time only. */
const END_OF_TEXT = 17;

function isTooDeep(text: string): boolean {
  const scanner = createScanner(text, true);
  let depth = 0;
  // Not by the token's length: behind an open comment that is all of the rest, the end has a length for ever.
  while (scanner.scan() !== END_OF_TEXT) {
    const char = text[scanner.getTokenOffset()];
    if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']') depth--;
    if (depth > DEEPEST) return true;
  }
  return false;
}

function valueOf(node: Node, path: string, text: string, problems: Problem[]): unknown {
  if (node.type === 'array') {
    return node.children!.map((child, i) => valueOf(child, `${path}[${i}]`, text, problems));
  }
  if (node.type !== 'object') return node.value;
  const object: Record<string, unknown> = {};
  for (const property of node.children!) {
    if (problems.length === MOST_PROBLEMS) break;
    const [key, value] = property.children!;
    const name = key!.value as string;
    const at = `${JSON.stringify(name)} at ${place(text, key!.offset)}`;
    if (name === '__proto__') {
      problems.push({ path, wanted: 'a field with another name', got: at });
    } else if (Object.hasOwn(object, name)) {
      problems.push({ path, wanted: 'each field once', got: `another ${at}` });
    } else {
      object[name] = valueOf(value!, `${path}.${name}`, text, problems);
    }
  }
  return object;
}

function place(text: string, offset: number): string {
  const before = text.slice(0, offset).split('\n');
  return `line ${before.length}, column ${before.at(-1)!.length + 1}`;
}

const WANTED: Readonly<Record<string, string>> = {
  PropertyNameExpected: 'a field name in double quotes',
  ValueExpected: 'a value',
  ColonExpected: '":" between a field and its value',
  CommaExpected: '"," between two fields or elements',
  CloseBraceExpected: '"}" at the end of the object',
  CloseBracketExpected: '"]" at the end of the list',
  EndOfFileExpected: 'nothing after the document',
  InvalidCommentToken: 'a comment that starts with "//" or "/*"',
  UnexpectedEndOfComment: '"*/" at the end of the comment',
  UnexpectedEndOfString: 'a closing double quote on the same line',
  InvalidUnicode: 'four hex digits after "\\u"',
  InvalidEscapeCharacter: 'one of the escapes \\" \\\\ \\/ \\b \\f \\n \\r \\t \\u',
  InvalidCharacter: 'control characters in a text written as \\n, \\t or \\u0000',
};

function syntaxProblem(text: string, { error, offset, length }: ParseError): Problem {
  const code = printParseErrorCode(error);
  const token = text.slice(offset, offset + length);
  const shown = token.length <= 40 ? token : `${token.slice(0, 40)}…`;
  const got = `${token === '' ? 'the end of the text' : JSON.stringify(shown)} at ${place(text, offset)}`;
  if (code !== 'InvalidSymbol') return { path: '$', wanted: WANTED[code] ?? 'JSON', got };

  if (/^['`‘’“”]/.test(token)) {
    return { path: '$', wanted: 'double quotes (") around names and texts', got };
  }
  if (/^\s*:/.test(text.slice(offset + length))) {
    return { path: '$', wanted: 'a field name in double quotes', got };
  }
  const hint = nearest(token, ['true', 'false', 'null']);
  return {
    path: '$',
    wanted: 'a value: a text in double quotes, a number, true, false, null, a list or an object',
    got,
    ...(hint === undefined ? {} : { hint }),
  };
}
