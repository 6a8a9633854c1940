import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { createLog } from '#kit/log.ts';
import { Metrics } from '../../../gateway/admin/metrics.ts';
import { parseGatewayConfig } from '../../../gateway/config.ts';
import { gatewayFile, localService } from '../../../gateway/config/schema.ts';
import { FAILURES, REASONS } from '../../../gateway/worker/request/failures.ts';
import { fakeSource, STATUS } from '../../support/admin-source.ts';

const ROOT = join(import.meta.dirname, '../../..');
const PAGE = readFileSync(join(ROOT, 'gateway/config.md'), 'utf8');

function section(title: string): string {
  const found = PAGE.split(/^## /m).find((part) => part.startsWith(title));
  return found ?? assert.fail(`gateway/config.md has no section "${title}"`);
}

/** The block of YAML whose first line is a comment with this file name. */
function example(file: string): string {
  const found = [...PAGE.matchAll(/^```yaml\n# (\S+)\n([^]*?)^```$/gm)].find(
    ([, name]) => name === file,
  );
  return found?.[2] ?? assert.fail(`gateway/config.md has no example of ${file}`);
}

/** The code span in the first column of each row. */
function rowsOf(title: string): string[] {
  return Array.from(section(title).matchAll(/^\| `([^`]+)`/gm), ([, name]) => name!);
}

interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
}

/** `mesh.listen`, `egress.listeners[].to`: every field that holds no further ones, and every list. */
function leavesOf(schema: JsonSchema, at = ''): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([field, inner]) => {
    const path = at === '' ? field : `${at}.${field}`;
    if (inner.properties !== undefined) return leavesOf(inner, path);
    if (inner.items?.properties === undefined) return [path];
    return [path, ...leavesOf(inner.items, `${path}[]`)];
  });
}

function fieldsOf(schema: z.ZodType): string[] {
  return leavesOf(z.toJSONSchema(schema, { io: 'input' }) as JsonSchema);
}

describe('gateway/config.md', () => {
  it('has a gateway.yaml that is accepted and says everything', () => {
    const text = example('gateway.yaml');
    const config = parseGatewayConfig(text, 'gateway.yaml');
    assert.equal(config.egress.listeners[0]?.to, 'payments');
    const unsaid = ['embedded', 'file', 'certFile', 'keyFile', 'bundleFile'];
    const fields = fieldsOf(gatewayFile('vm-a')).filter((path) => !path.startsWith('services[]'));
    const missing = fields
      .map((path) => path.split('.').at(-1)!)
      .filter((field) => !unsaid.includes(field) && !new RegExp(`\\b${field}:`).test(text));
    assert.deepEqual(missing, []);
  });

  it('has a services.d file that is accepted and says everything', () => {
    const text = example('services.d/orders.yaml');
    const services = [{ file: 'orders.yaml', text }];
    const config = parseGatewayConfig(example('gateway.yaml'), 'gateway.yaml', { services });
    assert.equal(config.services[0]?.service, 'orders');
    const missing = fieldsOf(localService)
      .map((path) => path.split('.').at(-1)!)
      // An instance has one check.
      .filter((field) => field !== 'tcp' && !new RegExp(`\\b${field}:`).test(text));
    assert.deepEqual(missing, []);
  });

  it('has a row for every field of gateway.yaml, and no other', () => {
    const wanted = fieldsOf(gatewayFile('vm-a')).filter((path) => !path.startsWith('services[]'));
    const objects = ['registry', 'identity'];
    assert.deepEqual(
      rowsOf('`gateway.yaml`').filter((row) => !objects.includes(row)),
      wanted,
    );
  });

  it('has a row for every field of a service, and no other', () => {
    assert.deepEqual(
      rowsOf('`services.d/*.yaml`').filter((row) => row !== 'check'),
      fieldsOf(localService),
    );
  });

  it('has a row for every endpoint of the admin API, and no other', () => {
    const source = readFileSync(join(ROOT, 'gateway/admin/app.ts'), 'utf8');
    const served = Array.from(source.matchAll(/app\.get(?:<[^(]*>)?\('([^']+)'/g), ([, path]) =>
      path!.replace(/^\/nodes\/:node(?:\/\*?)?$/, '/nodes/<node>'),
    );
    assert.deepEqual(rowsOf('Admin API').toSorted(), [...new Set(served)].toSorted());
  });

  it('has a row for every metric with its labels, and no other', async () => {
    const rejected = [{ key: 'config/x', revision: 1, path: '$', error: 'x', using: null }];
    const identities = STATUS.identities.map((one) => ({ ...one, notAfter: null }));
    const registry = { ...STATUS.registry, rejected };
    const source = fakeSource({ status: () => ({ ...STATUS, identities, registry }) });
    const text = await new Metrics(source, createLog({ level: 'silent' })).render();
    const names = Array.from(text.matchAll(/^# TYPE (gatemesh_\w+)/gm), ([, name]) => name!);
    assert.deepEqual(rowsOf('Metrics').toSorted(), names.toSorted());
    for (const name of names) {
      const sample = new RegExp(`^${name}(?:_sum)?(?:\\{(.*)\\})? `, 'm').exec(text);
      assert.ok(sample !== null, `no sample of ${name}`);
      const labels = Array.from((sample[1] ?? '').matchAll(/(\w+)="/g), ([, label]) => label!);
      const row = section('Metrics').match(new RegExp(`^\\| \`${name}\` .*$`, 'm'))![0];
      const said = Array.from(row.split('|')[2]!.matchAll(/`(\w+)`/g), ([, label]) => label!);
      assert.deepEqual(said.toSorted(), labels.toSorted(), name);
    }
  });

  it('has a row for every reason with its statuses, and no other', () => {
    const title = 'Answers a gateway makes itself';
    assert.deepEqual(rowsOf(title).toSorted(), [...REASONS].toSorted());
    for (const { reason, status } of Object.values(FAILURES)) {
      const row = section(title).match(new RegExp(`^\\| \`${reason}\` .*$`, 'm'))![0];
      assert.ok(
        row.split('|')[2]!.includes(String(status)),
        `${reason} is answered with ${status}`,
      );
    }
  });
});
