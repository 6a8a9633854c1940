/**
 * Path regexes come from the registry and run on the data path for every request, on paths chosen
 * by strangers. V8's engine backtracks, so one careless pattern stops a worker for seconds (ReDoS). Only patterns
 * that match in linear time are accepted: anchored, ASCII, without lookarounds or backreferences, without a
 * repeat inside a repeat, without two repeats that could take the same characters from each other
 * (a character neither of them matches must stand between, as the "/" in `^/[^/]+/[^/]+$`), and without too many
 * optional parts and alternatives whose next character does not decide (`^/a?a?a?…` doubles with each).
 */

const LONGEST = 256;
/** Ways to go through the optional parts and alternatives of a pattern: each may be tried on one path. */
const MOST_WAYS = 64;

/** One character-set or group of a pattern. `set` has bit c when it can match (for a group: contain) ASCII character c. */
interface Item {
  readonly set: bigint;
  /** Branches of a group; undefined for a single character or class. */
  readonly branches: readonly (readonly Item[])[] | undefined;
  readonly min: number;
  readonly max: number;
}

/** What a sequence can begin with, and whether it can match nothing. */
interface Start {
  readonly set: bigint;
  readonly canBeEmpty: boolean;
}

class Refused extends Error {}

/** Why this pattern cannot be used; undefined when it can. */
export function pathRegexProblem(pattern: string): string | undefined {
  if (pattern.length > LONGEST) return `longer than ${LONGEST} characters`;
  if (!/^[\x20-\x7e]*$/.test(pattern)) return 'not printable ASCII (paths are percent-encoded)';
  if (!pattern.startsWith('^')) return 'not anchored: it must start with "^"';
  try {
    new RegExp(pattern, 'u');
  } catch (error) {
    // "Invalid regular expression: /^(/u: Unterminated group"
    return String(error).replace(/^.*\/u: /, 'not a regular expression: ');
  }
  try {
    const branches = new PatternReader(pattern.slice(1)).branches();
    if (branches.length > 1) {
      throw new Refused('"^" covers only the first alternative: write "^(?:…|…)"');
    }
    checkSequence(branches[0]!, 0n);
    checkWays(branches[0]!);
  } catch (error) {
    if (error instanceof Refused) return error.message;
    throw error;
  }
  return undefined;
}

/** Reads a pattern the engine has already accepted, so that only its shape matters here. */
class PatternReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  branches(): Item[][] {
    const branches: Item[][] = [[]];
    while (this.#at < this.#text.length && this.#text[this.#at] !== ')') {
      if (this.#text[this.#at] === '|') {
        this.#at++;
        branches.push([]);
        continue;
      }
      const item = this.#item();
      if (item !== undefined) branches.at(-1)!.push(item);
    }
    return branches;
  }

  #item(): Item | undefined {
    const char = this.#text[this.#at]!;
    if (char === '^') throw new Refused('"^" belongs at the start only');
    if (char === '$') {
      this.#at++;
      return undefined;
    }
    if (char !== '(') {
      const set = charactersOf(this.#take(/\[(?:\\.|[^\]\\])*\]|\\.|./y));
      return { set, branches: undefined, ...this.#repeat() };
    }
    if (/\(\?(?!:)/y.test(this.#text.slice(this.#at))) {
      throw new Refused('lookarounds and named groups cannot be matched in linear time: leave out');
    }
    this.#take(/\((?:\?:)?/y);
    const branches = this.branches();
    this.#at++;
    const set = branches.flat().reduce((all, item) => all | item.set, 0n);
    return { set, branches, ...this.#repeat() };
  }

  #repeat(): { readonly min: number; readonly max: number } {
    const text = this.#take(/(?:[*+?]|\{\d+(?:,\d*)?\})?\??/y);
    if (text === '' || text === '?') return { min: text === '' ? 1 : 0, max: 1 };
    if (text.startsWith('*')) return { min: 0, max: Infinity };
    if (text.startsWith('+')) return { min: 1, max: Infinity };
    if (text.startsWith('?')) return { min: 0, max: 1 };
    const [, low, comma, high] = /^\{(\d+)(,?)(\d*)\}/.exec(text)!;
    const min = Number(low);
    return { min, max: comma === '' ? min : high === '' ? Infinity : Number(high) };
  }

  /** Consumes what the sticky expression matches here. */
  #take(sticky: RegExp): string {
    sticky.lastIndex = this.#at;
    const text = sticky.exec(this.#text)?.[0] ?? '';
    this.#at += text.length;
    return text;
  }
}

function charactersOf(source: string): bigint {
  if (/^\\[1-9k]/.test(source))
    throw new Refused('backreferences cannot be matched in linear time');
  if (/^\\[bBpPux0c]/.test(source) || /\\[pPux0c]/.test(source)) {
    throw new Refused(`"${source}" is not supported in a path: write the characters themselves`);
  }
  const one = new RegExp(`^${source}$`, 'u');
  let set = 0n;
  for (let code = 0; code < 128; code++) {
    if (one.test(String.fromCharCode(code))) set |= 1n << BigInt(code);
  }
  return set;
}

/**
 * @param open characters that a repeat further left could still take or give back
 * @returns the same, after this sequence
 */
function checkSequence(items: readonly Item[], open: bigint): bigint {
  for (const item of items) {
    if (item.min !== item.max && item.max > 1) open = checkRepeat(item, open);
    else open = checkOnce(item, open);
  }
  return open;
}

function checkRepeat(item: Item, open: bigint): bigint {
  if (item.branches !== undefined && !isFixed(item.branches)) {
    throw new Refused(
      'a repeat inside a repeat (or alternatives inside one) can take exponential time',
    );
  }
  if ((item.set & open) !== 0n) {
    throw new Refused(
      'two repeats that match the same characters take quadratic time: put a character that neither matches between them, as in "^/[^/]+/[^/]+$"',
    );
  }
  return item.min > 0 ? item.set : open | item.set;
}

function checkOnce(item: Item, open: bigint): bigint {
  if (item.max === 0) return open;
  if (item.branches === undefined) {
    return item.min > 0 && (item.set & open) === 0n ? 0n : open;
  }
  if (item.max > 1 && !isFixed(item.branches)) {
    throw new Refused(
      'a repeat inside a repeat (or alternatives inside one) can take exponential time',
    );
  }
  const after = item.branches.reduce((all, branch) => all | checkSequence(branch, open), 0n);
  return item.min > 0 ? after : open | after;
}

function checkWays(items: readonly Item[]): void {
  if (waysThrough(items, 0n) <= MOST_WAYS) return;
  throw new Refused(
    `more than ${MOST_WAYS} ways to match one path: use fewer optional parts and alternatives that begin with the same characters`,
  );
}

/** @param next characters that what follows the sequence can begin with */
function waysThrough(items: readonly Item[], next: bigint): number {
  let ways = 1;
  for (const [i, item] of items.entries()) {
    const rest = startOf(items.slice(i + 1));
    ways *= waysOf(item, rest.set | (rest.canBeEmpty ? next : 0n));
  }
  return ways;
}

function waysOf(item: Item, next: bigint): number {
  let ways = 1;
  let begun = 0n;
  for (const [i, branch] of (item.branches ?? []).entries()) {
    const start = startOf(branch);
    const set = start.set | (start.canBeEmpty ? next : 0n);
    const inBranch = waysThrough(branch, next);
    // The next character decides which branch it is, or each may have to be tried.
    const isDecided = i === 0 || (begun & set) === 0n;
    ways = isDecided ? Math.max(ways, inBranch) : ways + inBranch;
    begun |= set;
  }
  const isOptional = item.min === 0 && item.max === 1;
  return isOptional && (startOf([item]).set & next) !== 0n ? ways + 1 : ways;
}

function startOf(items: readonly Item[]): Start {
  let set = 0n;
  for (const { branches, min, max, set: own } of items) {
    const starts = branches?.map(startOf);
    if (max > 0) set |= starts?.reduce((all, start) => all | start.set, 0n) ?? own;
    if (min > 0 && starts?.some(({ canBeEmpty }) => canBeEmpty) !== true)
      return { set, canBeEmpty: false };
  }
  return { set, canBeEmpty: true };
}

/** One branch of single characters, each exactly so many times: it has one way to match. */
function isFixed(branches: readonly (readonly Item[])[]): boolean {
  return (
    branches.length === 1 &&
    branches[0]!.length > 0 &&
    branches[0]!.every(
      (item) =>
        item.min === item.max &&
        item.min > 0 &&
        (item.branches === undefined || isFixed(item.branches)),
    )
  );
}
