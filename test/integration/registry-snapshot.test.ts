import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Log } from '../../registry/kit/log.ts';
import {
  loadSnapshot,
  saveSnapshot,
  SnapshotKeeper,
  type SnapshotContent,
} from '../../registry/snapshot.ts';
import { eventually } from '../support/eventually.ts';
import { fakeClock } from '../support/fake-clock.ts';

describe('snapshot', () => {
  let folder: string;
  let lines: string[];
  const log = Object.fromEntries(
    ['info', 'warn', 'error'].map((level) => [
      level,
      (_: object, message: string) => lines.push(`${level}: ${message}`),
    ]),
  ) as unknown as Log;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatemesh-snapshot-'));
    lines = [];
  });
  afterEach(() => rm(folder, { recursive: true }));

  const content = (revision: number): SnapshotContent => ({
    revision,
    documents: [{ key: 'config/routes/ä', revision, text: '{\n"to": "web"}' }],
    services: ['web'],
  });
  const sealed = (body: string) => {
    const sha256 = createHash('sha256').update(body).digest('hex');
    return `${JSON.stringify({ schema: 1, sha256 })}\n${body}\n`;
  };
  const current = () => join(folder, 'snapshot.json');
  const previous = () => join(folder, 'snapshot.previous.json');

  it('comes back as it was saved, readable by its owner only', async () => {
    await saveSnapshot(folder, content(7));
    await saveSnapshot(folder, content(8));
    assert.deepEqual(await loadSnapshot(folder, log), content(8));
    assert.deepEqual((await readdir(folder)).sort(), ['snapshot.json', 'snapshot.previous.json']);
    for (const path of [current(), previous()]) {
      assert.equal((await stat(path)).mode & 0o777, 0o600);
    }
    assert.deepEqual(lines, []);
  });

  it('is undefined, without a word, where there never was one', async () => {
    assert.equal(await loadSnapshot(folder, log), undefined);
    assert.deepEqual(lines, []);
  });

  const damages: readonly [name: string, damage: (text: string) => string][] = [
    ['cut off', (text) => text.slice(0, -20)],
    ['empty', () => ''],
    ['changed in one letter', (text) => text.replace('web', 'wab')],
    ['of a later schema', (text) => text.replace('"schema":1', '"schema":2')],
    ['something else', () => '\0\0\0\n\0'],
    ['whole, and of another shape', () => sealed('{"revision":1,"documents":null}')],
    ['whole, and nothing', () => sealed('null')],
    [
      'whole, with a document that is none',
      () => sealed('{"revision":1,"documents":[1],"services":[]}'),
    ],
  ];
  for (const [name, damage] of damages) {
    it(`falls back to the previous one when it is ${name}`, async () => {
      await saveSnapshot(folder, content(7));
      await saveSnapshot(folder, content(8));
      await writeFile(current(), damage(await readFile(current(), 'utf8')));
      assert.deepEqual(await loadSnapshot(folder, log), content(7));
      assert.deepEqual(lines, ['warn: using the previous snapshot of the registry']);
      // The next save must not push the whole one out.
      await saveSnapshot(folder, content(9));
      await writeFile(current(), 'damaged again');
      assert.deepEqual(await loadSnapshot(folder, log), content(7));
    });
  }

  it('says so when both are damaged', async () => {
    await saveSnapshot(folder, content(7));
    await saveSnapshot(folder, content(8));
    await writeFile(current(), 'x');
    await writeFile(previous(), 'x');
    assert.equal(await loadSnapshot(folder, log), undefined);
    assert.deepEqual(lines, [
      'error: both snapshots of the registry are damaged: starting with none',
    ]);
  });

  it('is kept at most once a second, and at the end', async () => {
    const clock = fakeClock();
    let asked = 0;
    const keeper = new SnapshotKeeper({ folder, clock, log, content: () => content(++asked) });
    for (let n = 0; n < 10; n++) keeper.changed();
    clock.advance(999);
    assert.equal(asked, 0);
    clock.advance(1);
    await eventually(async () => assert.deepEqual(await loadSnapshot(folder, log), content(1)));
    keeper.changed();
    await keeper.stop();
    assert.deepEqual(await loadSnapshot(folder, log), content(2));
  });

  it('stays as it was while the disk refuses it, and is saved when it can be', async () => {
    const clock = fakeClock();
    const missing = join(folder, 'missing');
    const keeper = new SnapshotKeeper({ folder: missing, clock, log, content: () => content(1) });
    keeper.changed();
    for (let tries = 1; tries <= 3; tries++) {
      clock.advance(1_000);
      await eventually(() => assert.equal(keeper.failures, tries));
    }
    assert.deepEqual(lines, ['error: cannot save the snapshot of the registry']);
    await keeper.stop();
    assert.ok(keeper.failures >= 3);
  });
});
