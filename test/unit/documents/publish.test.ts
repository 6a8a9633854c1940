import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { formatDocument } from '../../../registry/documents/format.ts';
import { publishedSchemas } from '../../../registry/documents/publish.ts';

const FOLDER = join(import.meta.dirname, '../../../registry/documents/json-schema');

describe('the published JSON Schemas', () => {
  it('are those of the schemas in force (node registry/publish-schemas.ts writes them)', async () => {
    const published = publishedSchemas();
    assert.deepEqual((await readdir(FOLDER)).toSorted(), [...published.keys()].toSorted());
    for (const [file, schema] of published) {
      const text = await readFile(join(FOLDER, file), 'utf8');
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(schema)), file);
    }
  });
});

describe('formatDocument', () => {
  it('writes the same text whatever the order of the fields', () => {
    const text = '{\n  "a": [\n    {\n      "b": 1,\n      "c": 2\n    }\n  ],\n  "z": "x"\n}\n';
    assert.equal(formatDocument({ z: 'x', a: [{ c: 2, b: 1 }] }), text);
    assert.equal(formatDocument({ a: [{ b: 1, c: 2 }], z: 'x' }), text);
  });
});
