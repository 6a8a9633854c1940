import { EXIT, type ExitCode } from '#kit/errors.ts';
import { formatDocument } from '../../registry/documents/format.ts';
import { CONFIG_PREFIX, NODES_PREFIX, STATUS_PREFIX } from '../../registry/documents/keys.ts';
import { parseDocument, parseStatus } from '../../registry/documents/parse.ts';
import { checkReferences, knownOf, type Known } from '../../registry/documents/references.ts';
import type { TypedDocument } from '../../registry/documents/types.ts';
import type { Store } from '../../registry/store/store.ts';
import { formatSourceProblem, readObjects, type SourceProblem } from './object-files.ts';
import type { Out } from './objects.ts';

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
  const typed = new Map<string, TypedDocument>();
  let checked = 0;
  for (const prefix of [CONFIG_PREFIX, NODES_PREFIX, STATUS_PREFIX]) {
    const { entries } = await store.range(prefix);
    checked += entries.length;
    for (const { key, value, modRevision } of entries) {
      const source = `revision ${modRevision}`;
      const parsed = prefix === STATUS_PREFIX ? parseStatus(key, value) : parseDocument(key, value);
      if (!parsed.ok) problems.push(...parsed.problems.map((one) => ({ source, key, ...one })));
      else if ('typed' in parsed) typed.set(key, parsed.typed);
    }
  }
  const known = knownOf(typed.values());
  for (const [key, document] of typed) {
    const dangling = checkReferences(document, known);
    problems.push(...dangling.map((problem) => ({ source: 'registry', key, ...problem })));
  }
  return report(args, problems, checked, 'key', out);
}

/**
 * The same for files, without a registry. A service may be known only by its instances and a gateway only to the
 * registry, so references are checked as far as the files themselves decide them.
 *
 * @returns 1 when there is any problem
 * @throws MeshError `file_unreadable` (exit code 64)
 */
export async function lintFiles(
  args: LintArgs & { readonly files: readonly string[] },
  out: Out,
): Promise<ExitCode> {
  const { objects, problems } = await readObjects(args.files);
  const known = knownOffline(objects.map(({ typed }) => typed));
  const dangling = objects.flatMap(({ source, key, typed }) =>
    checkReferences(typed, known).map((problem) => ({ source, key, ...problem })),
  );
  const broken = new Set(problems.map(({ key, source }) => key ?? source));
  const all = [...problems, ...dangling];
  return report(args, all, objects.length + broken.size, 'object', out);
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
  };
}

function report(
  { json }: LintArgs,
  problems: readonly SourceProblem[],
  checked: number,
  what: string,
  out: Out,
): ExitCode {
  if (json) {
    out(formatDocument({ checked, problems }).trimEnd());
  } else {
    for (const problem of problems) out(formatSourceProblem(problem));
    const found = problems.length === 0 ? 'no problem' : plural(problems.length, 'problem');
    out(`${plural(checked, what)}, ${found}`);
  }
  return problems.length === 0 ? EXIT.done : EXIT.failed;
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
