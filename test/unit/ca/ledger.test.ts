import assert from 'node:assert/strict';
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { countIssued, Ledger, type LedgerEntry } from '../../../ca/ledger.ts';
import { lastFirst, temporaryFolder } from '../../support/ca.ts';

const NOW_MS = Date.UTC(2026, 10, 1, 12);
const entry = (key: string, notAfterMs = NOW_MS + 1000): LedgerEntry => ({
  event: 'issue',
  serial: '4a',
  identity: `spiffe://mesh.test/svc/${key}`,
  key,
  requester: 'test',
  notBefore: new Date(NOW_MS).toISOString(),
  notAfter: new Date(notAfterMs).toISOString(),
});

describe('Ledger', () => {
  it('knows after a restart what it knew before', async (t) => {
    const path = join(await temporaryFolder(lastFirst(t)), 'issued.jsonl');
    const before = await Ledger.open(path, NOW_MS);
    await before.record(entry('a'), NOW_MS);
    await before.record({ event: 'token-mint', token: '01', node: 'vm-a' }, NOW_MS);
    await before.close();
    const after = await Ledger.open(path, NOW_MS);
    t.after(() => after.close());
    assert.equal(after.issued, 1);
    assert.equal(after.ownerOf('a', NOW_MS), 'spiffe://mesh.test/svc/a');
    assert.equal(await countIssued(path, NOW_MS), 1);
  });

  it('lets a key go when its certificate has ended', async (t) => {
    const path = join(await temporaryFolder(lastFirst(t)), 'issued.jsonl');
    const ledger = await Ledger.open(path, NOW_MS);
    t.after(() => ledger.close());
    await ledger.record(entry('a'), NOW_MS);
    assert.equal(ledger.ownerOf('a', NOW_MS + 999), 'spiffe://mesh.test/svc/a');
    assert.equal(ledger.ownerOf('a', NOW_MS + 1000), undefined);
  });

  it('goes on after a crash in the middle of a line', async (t) => {
    const path = join(await temporaryFolder(lastFirst(t)), 'issued.jsonl');
    const before = await Ledger.open(path, NOW_MS);
    await before.record(entry('a'), NOW_MS);
    await before.close();
    await appendFile(path, '{"time":"2026-11-01T12:0');
    const after = await Ledger.open(path, NOW_MS);
    t.after(() => after.close());
    await after.record(entry('b'), NOW_MS);
    assert.equal(await countIssued(path, NOW_MS), 2);
  });

  it('keeps the order of what comes in together, one line each', async (t) => {
    const path = join(await temporaryFolder(lastFirst(t)), 'issued.jsonl');
    const ledger = await Ledger.open(path, NOW_MS);
    t.after(() => ledger.close());
    const keys = Array.from({ length: 50 }, (_, i) => `k${i}`);
    await Promise.all(keys.map((key) => ledger.record(entry(key), NOW_MS)));
    const lines = (await readFile(path, 'utf8')).trim().split('\n');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).key),
      keys,
    );
  });

  it('says so when it cannot write, and to which file', async (t) => {
    const folder = await temporaryFolder(lastFirst(t));
    await assert.rejects(Ledger.open(join(folder, 'no', 'issued.jsonl'), NOW_MS), {
      code: 'ca_ledger_unwritable',
      message: new RegExp(`^cannot write the authority's book ${folder}/no/issued.jsonl: ENOENT`),
    });
  });

  it('counts nothing where there is no book yet', async (t) => {
    const folder = await temporaryFolder(lastFirst(t));
    assert.equal(await countIssued(join(folder, 'issued.jsonl'), NOW_MS), 0);
  });
});
