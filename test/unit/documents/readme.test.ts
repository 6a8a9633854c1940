import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { formatProblem, type Problem } from '#kit/problem.ts';
import { CONFIG_KINDS, folderOf } from '../../../registry/documents/keys.ts';
import { parseDocument, parseStatus } from '../../../registry/documents/parse.ts';
import { publishedSchemas } from '../../../registry/documents/publish.ts';
import { checkReferences, knownOf } from '../../../registry/documents/references.ts';
import type { TypedDocument } from '../../../registry/documents/types.ts';

const ROOT = join(import.meta.dirname, '../../..');
const PAGE = readFileSync(join(ROOT, 'registry/README.md'), 'utf8');
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');

interface Example {
  readonly key: string;
  readonly text: string;
}

/** What is put with etcdctl, and blocks of JSON whose first line is a comment with the key. */
function examplesOf(page: string): Example[] {
  const put = /^etcdctl put '?\/gatemesh\/v1\/([^\s']+)'? '([^']*)'$/gm;
  const shown = /^```jsonc\n\/\/ (\S+)\n([^]*?)^```$/gm;
  return [...page.matchAll(put), ...page.matchAll(shown)].map(([, key, text]) => ({
    key: key!,
    text: text!,
  }));
}

/** By the schema that describes it: the part of the page that has to name its fields. */
function sectionOf(kind: string): string {
  const titles: Readonly<Record<string, string>> = {
    mesh: '`config/mesh`',
    'node-intents': '`config/nodes/<node>`',
    nodes: 'What gateways write',
    instances: 'What gateways write',
    status: 'What gateways write',
  };
  const sections = PAGE.split(/^## /m).slice(1);
  const title = titles[kind] ?? `\`config/${kind}/`;
  // The defaults for all services have the fields of a service.
  const also = kind === 'mesh' ? ['`config/services/', 'In every document'] : ['In every document'];
  return [title, ...also]
    .map((start) => {
      const section = sections.find((one) => one.startsWith(start));
      return section ?? assert.fail(`registry/README.md has no section "${start}"`);
    })
    .join('\n');
}

/** Names of fields at any depth of a JSON Schema. */
function fieldsOf(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const { properties } = schema as { readonly properties?: object };
  return [...Object.keys(properties ?? {}), ...Object.values(schema).flatMap(fieldsOf)];
}

/** Names in code spans: `retry.attempts` and `listeners[].port` name both of their parts. */
function namesIn(section: string): ReadonlySet<string> {
  const text = section.replaceAll(/^```[^]*?^```$/gm, '');
  const spans = Array.from(text.matchAll(/`([\w.[\]]+)`/g), ([, span]) => span!);
  return new Set(spans.flatMap((span) => span.split(/\[?\]?\./)));
}

interface Parsed {
  readonly typed: TypedDocument;
  readonly text: string;
}

/** Empty for `status/`, which is no part of the tables. */
function wellFormed({ key, text }: Example): Parsed[] {
  const parsed = key.startsWith('status/') ? parseStatus(key, text) : parseDocument(key, text);
  if (!parsed.ok) assert.fail(`${key}\n${text}\n${messages(parsed.problems)}`);
  return 'typed' in parsed ? [{ typed: parsed.typed, text }] : [];
}

function messages(problems: readonly Problem[]): string {
  return problems.map((problem) => formatProblem(problem)).join('\n');
}

describe('registry/README.md', () => {
  const examples = examplesOf(PAGE);
  const documents = examples.flatMap(wellFormed);

  it('has an example of every kind', () => {
    const kinds = new Set(documents.map(({ typed }) => typed.kind));
    assert.deepEqual(
      [...CONFIG_KINDS, 'nodes', 'instances'].filter((kind) => !kinds.has(kind as never)),
      [],
    );
    assert.ok(examples.some(({ key }) => key.startsWith('status/')));
  });

  it('shows no JSON that is not tested', () => {
    const blocks = PAGE.match(/^etcdctl put|^```json/gm) ?? [];
    assert.equal(blocks.length, examples.length);
  });

  it('has examples that fit together', () => {
    const registered = ['web', 'payments'].map((service): Example => ({
      key: `nodes/vm-a/instances/${service}/1`,
      text: examples.find(({ key }) => key.includes('/instances/'))!.text,
    }));
    const known = knownOf(
      [...documents, ...registered.flatMap(wellFormed)].map(({ typed }) => typed),
    );
    const problems = documents.flatMap(({ typed, text }) => checkReferences(typed, known, text));
    assert.deepEqual(problems, []);
  });

  for (const [file, schema] of publishedSchemas()) {
    const kind = file.replace('.schema.json', '');
    it(`names every field of ${file}`, () => {
      const named = namesIn(sectionOf(kind));
      const fields = fieldsOf(schema);
      assert.ok(fields.length > 0);
      assert.deepEqual(
        fields.filter((field) => !named.has(field)),
        [],
      );
    });
  }

  it('names every key', () => {
    const keys = CONFIG_KINDS.map((kind) =>
      kind === 'mesh' ? '`config/mesh`' : `\`config/${folderOf(kind)}/<`,
    );
    assert.deepEqual(
      keys.filter((key) => !PAGE.includes(`| ${key}`)),
      [],
    );
  });
});

describe('README.md', () => {
  it('puts documents that are well-formed, but for the mistake it shows', () => {
    const wrong = examplesOf(README).filter(({ key, text }) => !parseDocument(key, text).ok);
    assert.deepEqual(
      wrong.map(({ text }) => text),
      ['{"host":"shop.example.com","gateway":["public"],"to":"orders"}'],
    );
  });
});
