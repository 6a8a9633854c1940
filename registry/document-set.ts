import { formatProblem, type Problem } from '#kit/problem.ts';
import type { Known } from './documents/references.ts';
import type { Rejection, TypedDocument } from './documents/types.ts';
import { KnownNames } from './known-names.ts';

export interface DocumentRules {
  readonly parse: (
    key: string,
    text: string,
  ) =>
    | { readonly ok: true; readonly typed: TypedDocument }
    | { readonly ok: false; readonly problems: readonly Problem[] };
  readonly checkReferences: (
    typed: TypedDocument,
    known: Known,
    text: string,
  ) => readonly Problem[];
}

/** A document as it stands in the registry. */
export interface DocumentText {
  readonly key: string;
  readonly revision: number;
  readonly text: string;
}

/** What `apply` changed in the documents in force. */
export interface Difference {
  readonly put: readonly (readonly [key: string, document: TypedDocument])[];
  readonly deleted: readonly string[];
}

interface InForce {
  readonly text: string;
  readonly revision: number;
  readonly typed: TypedDocument;
}

interface Refused {
  readonly text: string;
  readonly revision: number;
  readonly problems: readonly Problem[];
  /** Set when it parses and only points at something that is not there (yet). */
  readonly typed: TypedDocument | undefined;
}

/**
 * The documents in force and the ones that are refused, each for itself. Rules:
 * a text that does not parse, or points at nothing, leaves the last good version of its key in force;
 * what was accepted stays accepted until its own text changes or it is deleted;
 * what points at nothing is looked at again whenever something new appears.
 */
export class DocumentSet {
  readonly #rules: DocumentRules;
  readonly #inForce = new Map<string, InForce>();
  readonly #documents = new Map<string, TypedDocument>();
  readonly #refused = new Map<string, Refused>();
  readonly #known: KnownNames;
  #rejections: readonly Rejection[] | undefined;

  /** @param services names of services known from an earlier run */
  constructor(rules: DocumentRules, services: Iterable<string> = []) {
    this.#rules = rules;
    this.#known = new KnownNames(services, (key) => this.#refused.has(key));
  }

  /** Always the same map, kept up to date; copy it to keep a moment. */
  get documents(): ReadonlyMap<string, TypedDocument> {
    return this.#documents;
  }

  /** In key order; the same array while nothing changes. */
  get rejections(): readonly Rejection[] {
    this.#rejections ??= [...this.#refused]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, refused]) => rejectionOf(key, refused, this.#inForce.get(key)));
    return this.#rejections;
  }

  get services(): ReadonlySet<string> {
    return this.#known.services;
  }

  /** Every key that stands in the registry as far as this set knows, in force or refused. */
  *keys(): Generator<string> {
    yield* this.#inForce.keys();
    for (const key of this.#refused.keys()) if (!this.#inForce.has(key)) yield key;
  }

  /** The accepted text of a key. */
  textOf(key: string): DocumentText | undefined {
    const inForce = this.#inForce.get(key);
    return inForce && { key, revision: inForce.revision, text: inForce.text };
  }

  *texts(): Generator<DocumentText> {
    for (const [key, { revision, text }] of this.#inForce) yield { key, revision, text };
  }

  /**
   * Puts texts in force that were accepted before, whatever they point at now.
   * Returns those that do not parse any more, which are left out.
   */
  restore(texts: Iterable<DocumentText>): Difference & { readonly refused: readonly Rejection[] } {
    const put: [string, TypedDocument][] = [];
    const refused: Rejection[] = [];
    for (const { key, revision, text } of texts) {
      const parsed = this.#parse(key, text);
      if (!parsed.ok) {
        const { problems } = parsed;
        refused.push(rejectionOf(key, { text, revision, problems, typed: undefined }, undefined));
        continue;
      }
      this.#known.add(parsed.typed);
      this.#accept(key, { text, revision, typed: parsed.typed });
      put.push([key, parsed.typed]);
    }
    return { put, deleted: [], refused };
  }

  /** Takes the changes of one revision (or the difference to a whole list), all or each for itself refused. */
  apply(puts: Iterable<DocumentText>, deletes: Iterable<string>): Difference {
    const deleted: string[] = [];
    for (const key of deletes) if (this.#delete(key)) deleted.push(key);

    const candidates = new Map<string, InForce>();
    let grown = false;
    for (const { key, revision, text } of puts) {
      const before = this.#inForce.get(key);
      if (before?.text === text) {
        this.#accept(key, { ...before, revision });
        continue;
      }
      const parsed = this.#parse(key, text);
      if (parsed.ok) {
        candidates.set(key, { text, revision, typed: parsed.typed });
        // All of a revision counts, whatever its order: a route may come with the service it points at.
        grown = this.#known.add(parsed.typed) || grown;
      } else {
        this.#refuse(key, { text, revision, problems: parsed.problems, typed: undefined });
      }
    }
    if (grown) this.#addWaiting(candidates);
    const put = [...candidates].flatMap(([key, candidate]) => this.#decide(key, candidate));
    return { put, deleted };
  }

  /** Refused ones that may be right now that something new is known. */
  #addWaiting(candidates: Map<string, InForce>): void {
    for (const [key, { text, revision, typed }] of this.#refused) {
      if (typed !== undefined && !candidates.has(key))
        candidates.set(key, { text, revision, typed });
    }
  }

  #decide(key: string, candidate: InForce): [string, TypedDocument][] {
    const { typed, text } = candidate;
    const problems = this.#rules.checkReferences(typed, this.#known, text);
    if (problems.length > 0) {
      this.#refuse(key, { ...candidate, problems });
      return [];
    }
    this.#accept(key, candidate);
    return [[key, typed]];
  }

  #parse(key: string, text: string): ReturnType<DocumentRules['parse']> {
    try {
      return this.#rules.parse(key, text);
    } catch (error) {
      // A parser that trips over one text must not take every other key with it.
      const got = `a text the parser fails on (${String(error)})`;
      return { ok: false, problems: [{ path: '$', wanted: 'a document', got }] };
    }
  }

  #accept(key: string, inForce: InForce): void {
    this.#inForce.set(key, inForce);
    this.#documents.set(key, inForce.typed);
    // `using` of a rejection names the revision in force.
    this.#refused.delete(key);
    this.#rejections = undefined;
  }

  #refuse(key: string, refused: Refused): void {
    this.#refused.set(key, refused);
    this.#rejections = undefined;
  }

  /** True when it was in force. */
  #delete(key: string): boolean {
    for (const typed of [this.#inForce.get(key)?.typed, this.#refused.get(key)?.typed]) {
      if (typed !== undefined) this.#known.remove(typed);
    }
    if (this.#refused.delete(key)) this.#rejections = undefined;
    this.#documents.delete(key);
    return this.#inForce.delete(key);
  }
}

function rejectionOf(key: string, refused: Refused, inForce: InForce | undefined): Rejection {
  const { problems, revision } = refused;
  const hint = problems.find((problem) => problem.hint !== undefined)?.hint;
  return {
    key,
    revision,
    path: problems[0]?.path ?? '$',
    error: problems.map(formatProblem).join('\n'),
    ...(hint === undefined ? {} : { hint }),
    using: inForce?.revision ?? null,
  };
}
