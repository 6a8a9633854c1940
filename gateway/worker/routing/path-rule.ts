import type { PathMatch } from '../../../registry/documents/types.ts';

const SLASH = 0x2f;

/**
 * A path match ready for use. `prefix` is kept without its closing slash, as `/x` and `/x/` mean the same:
 * `/x`, `/x/` and `/x/y`, never `/xy`. The prefix `/` becomes '' and matches any path, `*` included.
 */
export type PathRule =
  | { readonly kind: 'prefix'; readonly prefix: string }
  | { readonly kind: 'exact'; readonly path: string }
  | { readonly kind: 'regex'; readonly regex: RegExp };

/** The document's parser has already accepted the regex with the same flag. */
export function compilePath(match: PathMatch): PathRule {
  switch (match.kind) {
    case 'prefix':
      return {
        kind: 'prefix',
        prefix: match.value.endsWith('/') ? match.value.slice(0, -1) : match.value,
      };
    case 'exact':
      return { kind: 'exact', path: match.value };
    case 'regex':
      return { kind: 'regex', regex: new RegExp(match.value, 'u') };
  }
}

export function pathMatches(rule: PathRule, path: string): boolean {
  switch (rule.kind) {
    case 'prefix':
      return path.startsWith(rule.prefix) && endsSegment(path, rule.prefix.length);
    case 'exact':
      return path === rule.path;
    case 'regex':
      return rule.regex.test(path);
  }
}

/** Whether a prefix of `length` characters of this path ends where one of its segments does. */
export function endsSegment(path: string, length: number): boolean {
  return length === 0 || length === path.length || path.charCodeAt(length) === SLASH;
}

/** For people: what this rule asks of the path. */
export function describePath(rule: PathRule): string {
  switch (rule.kind) {
    case 'prefix':
      return `under ${rule.prefix}/`;
    case 'exact':
      return `exactly ${rule.path}`;
    case 'regex':
      return `like ${rule.regex.source}`;
  }
}
