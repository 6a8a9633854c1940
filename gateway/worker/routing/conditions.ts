import type { RouteDocument } from '../../../registry/documents/types.ts';
import type { RequestView } from './request-view.ts';

/** One thing a route asks for besides host and path; `why` is what to say when the request lacks it. */
export type Condition =
  | { readonly kind: 'method'; readonly methods: readonly string[]; readonly why: string }
  | { readonly kind: 'source'; readonly sources: readonly string[]; readonly why: string }
  | { readonly kind: 'header'; readonly name: string; readonly value: string; readonly why: string }
  | { readonly kind: 'query'; readonly name: string; readonly value: string; readonly why: string };

/** One per list of methods or sources, one per header and per query parameter; cheap ones first. */
export function compileConditions(route: RouteDocument): readonly Condition[] {
  const conditions: Condition[] = [];
  const { methods, sources } = route;
  if (methods.length > 0) {
    conditions.push({ kind: 'method', methods, why: `the method is not ${methods.join(' or ')}` });
  }
  if (sources.length > 0) {
    const why = `the calling service is not ${sources.join(' or ')}`;
    conditions.push({ kind: 'source', sources, why });
  }
  for (const [name, value] of Object.entries(route.headers)) {
    conditions.push({ kind: 'header', name, value, why: `header ${name} is not "${value}"` });
  }
  for (const [name, value] of Object.entries(route.query)) {
    const why = `query parameter ${name} is not "${value}"`;
    conditions.push({ kind: 'query', name, value, why });
  }
  return conditions;
}

/** Why the request does not meet one of them; undefined when it meets all. The texts are ready-made: no allocation. */
export function unmet(
  conditions: readonly Condition[],
  source: string,
  request: RequestView,
): string | undefined {
  for (let i = 0; i < conditions.length; i++) {
    const condition = conditions[i]!;
    if (!isMet(condition, source, request)) return condition.why;
  }
  return undefined;
}

function isMet(condition: Condition, source: string, request: RequestView): boolean {
  switch (condition.kind) {
    case 'method':
      return condition.methods.includes(request.method);
    case 'source':
      return condition.sources.includes(source);
    case 'header':
      return request.header(condition.name) === condition.value;
    case 'query':
      return queryHas(request.query, condition.name, condition.value);
  }
}

/**
 * Whether one of the parameters `name` has this value, read as application/x-www-form-urlencoded (WHATWG URL
 * §5.1). A parameter without `=` has the value ''. Only a part with `%` or `+` costs an allocation.
 */
export function queryHas(query: string, name: string, value: string): boolean {
  let start = 0;
  while (start < query.length) {
    let end = query.indexOf('&', start);
    if (end < 0) end = query.length;
    let equals = query.indexOf('=', start);
    if (equals < 0 || equals > end) equals = end;
    if (
      end > start &&
      partIs(query, start, equals, name) &&
      partIs(query, Math.min(equals + 1, end), end, value)
    ) {
      return true;
    }
    start = end + 1;
  }
  return false;
}

function partIs(query: string, start: number, end: number, wanted: string): boolean {
  for (let i = start; i < end; i++) {
    const char = query.charCodeAt(i);
    if (char === 0x25 || char === 0x2b) return decodePart(query.slice(start, end)) === wanted;
  }
  return end - start === wanted.length && query.startsWith(wanted, start);
}

/** A part with a broken escape stays as it is. */
function decodePart(text: string): string {
  const spaced = text.replaceAll('+', ' ');
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced;
  }
}
