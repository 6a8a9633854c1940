import { z } from 'zod';
import { status } from './node.ts';
import { SCHEMAS } from './parse.ts';

/**
 * File name to JSON Schema (draft 2020-12) of each kind, for editors and CI: what may be typed, short forms included.
 * A few rules, such as weights that add up to more than 0, are beyond JSON Schema.
 */
export function publishedSchemas(): ReadonlyMap<string, object> {
  return new Map(
    Object.entries({ ...SCHEMAS, status }).map(([kind, schema]) => [
      `${kind}.schema.json`,
      { title: `gatemesh ${kind}`, ...z.toJSONSchema(schema, { io: 'input' }) },
    ]),
  );
}
