import type { DocumentRules } from '../../../registry/document-set.ts';
import type { TypedDocument } from '../../../registry/documents/types.ts';
import type { Problem } from '../../../registry/kit/problem.ts';

/** The smallest documents that have something to refuse: routes `{"to": "web"}`, and texts that are not JSON. */
export const rules: DocumentRules = {
  parse(key, text) {
    if (text === 'crash') throw new Error('boom');
    if (!text.startsWith('{')) return { ok: false, problems: [problem(text)] };
    return { ok: true, typed: typedOf(key, JSON.parse(text) as Record<string, unknown>) };
  },
  checkReferences(typed, known) {
    if (typed.kind === 'gateways') {
      const [name] = typed.document.listeners[0]?.certificates ?? [];
      return name === undefined || known.certificates.has(name) ? [] : [problem(name)];
    }
    if (typed.kind !== 'routes') return [];
    const [{ service, subset } = { service: '' }] = typed.document.to;
    if (!known.services.has(service)) return [problem(service)];
    return subset === undefined || known.subsets(service).has(subset) ? [] : [problem(subset)];
  },
};

export function classify(key: string): { kind: string } | undefined {
  const [top, folder, ...rest] = key.split('/');
  if (top === 'status') return { kind: 'status' };
  if (top === 'config' && ['routes', 'services', 'gateways'].includes(folder!)) {
    return { kind: folder! };
  }
  if (top === 'nodes') return { kind: rest.length === 0 ? 'nodes' : 'instances' };
  return undefined;
}

export function problem(got: string): Problem {
  return { path: '$.x', wanted: 'better', got, hint: 'try' };
}

/** Only the fields that the rules under test look at. */
function typedOf(key: string, fields: Record<string, unknown>): TypedDocument {
  const parts = key.split('/');
  const name = parts.at(-1)!;
  const kind = classify(key)!.kind;
  const document = { name, ...fields };
  switch (kind) {
    case 'routes':
      return typedAs(kind, {
        ...document,
        to: [{ service: fields['to'], subset: fields['subset'] }],
      });
    case 'services':
      return typedAs(kind, { ...document, subsets: fields['subsets'] ?? {} });
    case 'gateways':
      return typedAs(kind, {
        ...document,
        listeners: [{ certificates: fields['certificates'] ?? [] }],
      });
    case 'instances':
      return typedAs(kind, { node: parts[1], service: parts[3], id: parts[4], ...fields });
    default:
      return typedAs(kind, document);
  }
}

function typedAs(kind: string, document: object): TypedDocument {
  return { kind, document } as unknown as TypedDocument;
}
