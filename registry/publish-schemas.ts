import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatDocument } from './documents/format.ts';
import { publishedSchemas } from './documents/publish.ts';

/** `node registry/publish-schemas.ts && npm run format`: writes documents/json-schema/ from the schemas in force. */

const folder = join(import.meta.dirname, 'documents/json-schema');
for (const [file, schema] of publishedSchemas()) {
  await writeFile(join(folder, file), formatDocument(schema));
}
