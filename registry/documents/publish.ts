import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { formatDocument } from './format.ts';
import { status } from './node.ts';
import { SCHEMAS } from './parse.ts';

/**
 * `node registry/documents/publish.ts` writes json-schema/<kind>.schema.json, for editors and CI. They describe what
 * may be typed (short forms included); a few rules, such as weights that add up to more than 0, are beyond JSON Schema.
 */

const FOLDER = join(import.meta.dirname, 'json-schema');

/** File name to JSON Schema (draft 2020-12). */
export function publishedSchemas(): ReadonlyMap<string, object> {
  return new Map(
    Object.entries({ ...SCHEMAS, status }).map(([kind, schema]) => [
      `${kind}.schema.json`,
      { title: `gatemesh ${kind}`, ...z.toJSONSchema(schema, { io: 'input' }) },
    ]),
  );
}

if (import.meta.main) {
  for (const [file, schema] of publishedSchemas()) {
    await writeFile(join(FOLDER, file), formatDocument(schema));
  }
}
