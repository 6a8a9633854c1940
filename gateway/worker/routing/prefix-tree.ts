import { endsSegment } from './path-rule.ts';

/** What lies at the end of a prefix of the path that was looked up. */
export interface PrefixHit<T> {
  readonly value: T;
  /** Length of the prefix. */
  readonly length: number;
  /** The next shorter prefix in the tree, whether it ends one of the path's segments or not. */
  readonly above: PrefixHit<T> | undefined;
}

interface Node<T> {
  /** The characters that lead here from the parent. */
  readonly label: string;
  /** Set when a prefix ends here. */
  readonly hit: PrefixHit<T> | undefined;
  readonly children: Map<number, Node<T>>;
}

/**
 * Finds the prefixes of a path, longest first, in one walk over its characters: the cost is the path's length,
 * whatever the number of prefixes, and nothing is allocated (a map from prefix to value would need a substring per segment).
 */
export class PrefixTree<T> {
  readonly #root: Node<T> | undefined;

  constructor(values: ReadonlyMap<string, T>) {
    const sorted = [...values].toSorted(([a], [b]) => (a < b ? -1 : 1));
    this.#root = sorted.length === 0 ? undefined : grow(sorted, 0, sorted.length, 0, undefined);
  }

  /** The longest prefix of the path that ends with one of its segments. */
  longest(path: string): PrefixHit<T> | undefined {
    let node = this.#root;
    let last: PrefixHit<T> | undefined;
    let at = 0;
    while (node !== undefined && path.startsWith(node.label, at)) {
      at += node.label.length;
      if (node.hit !== undefined) last = node.hit;
      node = at < path.length ? node.children.get(path.charCodeAt(at)) : undefined;
    }
    return onSegment(last, path);
  }

  /** The next shorter one after `hit`. */
  shorter(hit: PrefixHit<T>, path: string): PrefixHit<T> | undefined {
    return onSegment(hit.above, path);
  }
}

function onSegment<T>(from: PrefixHit<T> | undefined, path: string): PrefixHit<T> | undefined {
  let hit = from;
  while (hit !== undefined && !endsSegment(path, hit.length)) hit = hit.above;
  return hit;
}

/** The tree over `sorted[start, end)`, which all begin with the same `depth` characters. */
function grow<T>(
  sorted: readonly (readonly [string, T])[],
  start: number,
  end: number,
  depth: number,
  above: PrefixHit<T> | undefined,
): Node<T> {
  const [first, value] = sorted[start]!;
  // What the first and the last of a sorted list have in common, all of them have.
  const length = commonLength(first, sorted[end - 1]![0]);
  const hit = first.length === length ? { value, length, above } : undefined;
  const children = new Map<number, Node<T>>();

  let from = hit === undefined ? start : start + 1;
  while (from < end) {
    const char = sorted[from]![0].charCodeAt(length);
    let to = from + 1;
    while (to < end && sorted[to]![0].charCodeAt(length) === char) to++;
    children.set(char, grow(sorted, from, to, length, hit ?? above));
    from = to;
  }
  return { label: first.slice(depth, length), hit, children };
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}
