import { nearest } from '#kit/nearest.ts';
import { describe } from '#kit/problem.ts';
import type { ExplainRequest } from '../ipc.ts';

const PARAMETERS = ['method', 'url', 'from', 'gateway', 'h'] as const;

/** RFC 9110 section 5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const NAME = /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/;
const TARGET = /^[\x21-\x7e]+$/;

/** The request that `/explain?method=&url=&from=&gateway=&h=name:value` asks about, or everything that is wrong with it. */
export function parseExplainQuery(query: URLSearchParams): ExplainRequest | readonly string[] {
  const problems: string[] = [];
  for (const name of new Set(query.keys())) {
    if ((PARAMETERS as readonly string[]).includes(name)) {
      if (name !== 'h' && query.getAll(name).length > 1) problems.push(`${name}: given twice`);
      continue;
    }
    const near = nearest(name, PARAMETERS);
    const hint = near === undefined ? '' : `. Did you mean "${near}"?`;
    problems.push(`unknown parameter ${describe(name)}${hint}`);
  }

  /** One optional parameter; an empty one, as a form sends it, is one that was not given. */
  const take = (name: string, pattern: RegExp, wanted: string): string | undefined => {
    const value = query.get(name) ?? '';
    if (value === '') return undefined;
    if (!pattern.test(value)) problems.push(`${name}: wanted ${wanted}; got ${describe(value)}`);
    return value;
  };
  const headers = query.getAll('h').flatMap((line) => parseHeader(line, problems));
  const request: ExplainRequest = {
    method: take('method', TOKEN, 'an HTTP method such as GET') ?? 'GET',
    url: take('url', TARGET, 'a URL without spaces') ?? '',
    from: take('from', NAME, 'the name of the calling service'),
    gateway: take('gateway', NAME, 'the name of an edge gateway'),
    headers,
  };
  const urlProblem = problemWithUrl(request);
  if (urlProblem !== undefined) problems.push(urlProblem);
  return problems.length > 0 ? problems : request;
}

function parseHeader(line: string, problems: string[]): [name: string, value: string][] {
  if (line === '') return [];
  const colon = line.indexOf(':');
  const name = line.slice(0, Math.max(colon, 0)).trim().toLowerCase();
  const value = line.slice(colon + 1).trim();
  if (colon === -1 || !TOKEN.test(name) || !FIELD_VALUE.test(value)) {
    problems.push(`h: wanted "name: value"; got ${describe(line)}`);
    return [];
  }
  return [[name, value]];
}

function problemWithUrl({ url, headers }: ExplainRequest): string | undefined {
  const wanted = 'url: wanted "http://orders.mesh/path", or "/path" with h=host:orders.mesh';
  if (url === '') return `${wanted}; got nothing`;
  if (url.startsWith('/')) {
    return headers.some(([name]) => name === 'host') ? undefined : `${wanted}; got no host`;
  }
  const absolute = /^https?:\/\//i.test(url) && URL.canParse(url);
  return absolute ? undefined : `${wanted}; got ${describe(url)}`;
}
