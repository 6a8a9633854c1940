import { EXIT, type ExitCode } from '#kit/errors.ts';
import { formatDocument } from '../../registry/documents/format.ts';
import {
  classify,
  CONFIG_PREFIX,
  NODES_PREFIX,
  STATUS_PREFIX,
  type ConfigKind,
} from '../../registry/documents/keys.ts';
import { parseDocument, parseStatus } from '../../registry/documents/parse.ts';
import { checkReferences, knownOf, type Known } from '../../registry/documents/references.ts';
import type { TypedDocument } from '../../registry/documents/types.ts';
import type { Store } from '../../registry/store/store.ts';
import {
  formatSourceProblem,
  readObjects,
  type SourceObject,
  type SourceProblem,
  unreadLines,
} from './object-files.ts';
import { sourceOf, type Out } from './objects.ts';

export interface LintArgs {
  readonly json: boolean;
}

/**
 * Every problem of every key in the registry, references included.
 *
 * @returns 1 when there is any
 */
export async function lintStore(args: LintArgs, store: Store, out: Out): Promise<ExitCode> {
  const problems: SourceProblem[] = [];
  const good: Document[] = [];
  const rejected = new Set<string>();
  let checked = 0;
  for (const prefix of [CONFIG_PREFIX, NODES_PREFIX, STATUS_PREFIX]) {
    const { entries } = await store.range(prefix);
    checked += entries.length;
    for (const entry of entries) {
      const { key, value } = entry;
      const source = sourceOf(entry);
      const parsed = prefix === STATUS_PREFIX ? parseStatus(key, value) : parseDocument(key, value);
      if (!parsed.ok) {
        rejected.add(key);
        problems.push(...parsed.problems.map((one) => ({ source, key, ...one })));
      } else if ('typed' in parsed) {
        good.push({ source, key, text: value, typed: parsed.typed });
      }
    }
  }
  const documents = good.map(({ typed }) => typed);
  problems.push(...dangling(good, trusting(knownOf(documents), documents, rejected)));
  return report(args, problems, checked, 'key', out);
}

/**
 * The same for files, without a registry. A service may be known only by its instances and a gateway only to the
 * registry, so references are checked as far as the files themselves decide them.
 *
 * @returns 1 when there is any problem, 64 when files were left out
 * @throws MeshError `file_unreadable` (exit code 64)
 */
export async function lintFiles(
  args: LintArgs & { readonly files: readonly string[] },
  out: Out,
): Promise<ExitCode> {
  const { objects, problems, unread } = await readObjects(args.files);
  const documents = objects.map(({ typed }) => typed);
  const broken = new Set(problems.map(({ key, source }) => key ?? source));
  const known = trusting(knownOffline(documents), documents, broken);
  const all = [...problems, ...dangling(objects, known)];
  const code = report(args, all, objects.length + broken.size, 'object', out, unread);
  return unread.length > 0 ? EXIT.usage : code;
}

type Document = Pick<SourceObject, 'source' | 'key' | 'text' | 'typed'>;

function dangling(documents: readonly Document[], known: Known): SourceProblem[] {
  return documents.flatMap(({ source, key, text, typed }) =>
    checkReferences(typed, known, text).map((problem) => ({ source, key, ...problem })),
  );
}

/**
 * Takes documents that are there but broken for what others need of them: one mistake in a gateway must not be told
 * again for each of its routes.
 */
function trusting(
  known: Known,
  documents: readonly TypedDocument[],
  broken: ReadonlySet<string>,
): Known {
  const names = (kind: ConfigKind) =>
    [...broken].flatMap((key) => {
      const parts = classify(key);
      return parts?.kind === kind ? [parts.name] : [];
    });
  const services = new Set(names('services'));
  const wanted = documents.flatMap(({ kind, document }) =>
    kind === 'routes' || kind === 'tcp-routes' ? document.to : [],
  );
  return {
    services: known.services.union(services),
    subsets: (service) => {
      if (!services.has(service)) return known.subsets(service);
      const those = wanted.filter((to) => to.service === service);
      return new Set(those.flatMap(({ subset }) => (subset === undefined ? [] : [subset])));
    },
    gateways: known.gateways.union(new Set(names('gateways'))),
    listeners: (gateway) => known.listeners(gateway),
    certificates: known.certificates.union(new Set(names('certificates'))),
    isRejected: () => false,
  };
}

/** What the files say exists, and everything they cannot know not to. */
function knownOffline(documents: readonly TypedDocument[]): Known {
  const known = knownOf(documents);
  const described = new Set<string>();
  const services = new Set(known.services);
  const subsets = new Map<string, Set<string>>();
  const gateways = new Set(known.gateways);
  const certificates = new Set(known.certificates);
  for (const { kind, document } of documents) {
    if (kind === 'services') described.add(document.name);
  }
  for (const { kind, document } of documents) {
    if (kind === 'routes' || kind === 'tcp-routes') {
      for (const { service, subset } of document.to) {
        services.add(service);
        if (subset === undefined) continue;
        subsets.set(service, (subsets.get(service) ?? new Set()).add(subset));
      }
      if (known.gateways.size === 0) document.gateways.forEach((name) => gateways.add(name));
    } else if (kind === 'gateways' && known.certificates.size === 0) {
      for (const listener of document.listeners) {
        listener.certificates.forEach((name) => certificates.add(name));
      }
    }
  }
  return {
    services,
    subsets: (service) =>
      described.has(service) ? known.subsets(service) : (subsets.get(service) ?? new Set()),
    gateways,
    listeners: (gateway) => known.listeners(gateway),
    certificates,
    isRejected: () => false,
  };
}

function report(
  { json }: LintArgs,
  problems: readonly SourceProblem[],
  checked: number,
  what: string,
  out: Out,
  unread: readonly string[] = [],
): ExitCode {
  if (json) {
    out(
      formatDocument({ checked, problems, ...(unread.length === 0 ? {} : { unread }) }).trimEnd(),
    );
  } else {
    for (const line of unreadLines(unread)) out(line);
    for (const problem of problems) out(formatSourceProblem(problem));
    const found = problems.length === 0 ? 'no problem' : plural(problems.length, 'problem');
    out(`${plural(checked, what)}, ${found}`);
  }
  return problems.length === 0 ? EXIT.done : EXIT.failed;
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
