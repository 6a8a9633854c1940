import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { replaceFile } from '#kit/atomic-file.ts';

describe('replaceFile', () => {
  let folder: string;
  let path: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatemesh-atomic-'));
    path = join(folder, 'snapshot.json');
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('writes a new file that only its owner reads', async () => {
    await replaceFile(path, 'new');
    assert.equal(await readFile(path, 'utf8'), 'new');
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(folder), ['snapshot.json']);
  });

  it('replaces content and mode', async () => {
    await writeFile(path, 'an old and longer text', { mode: 0o600 });
    await replaceFile(path, Buffer.from('new'), 0o640);
    assert.equal(await readFile(path, 'utf8'), 'new');
    assert.equal((await stat(path)).mode & 0o777, 0o640);
    assert.deepEqual(await readdir(folder), ['snapshot.json']);
  });

  it('leaves the old content and nothing else when the write fails half-way', async () => {
    await writeFile(path, 'old');
    const broken = (function* () {
      yield 'half of the new';
      throw new Error('no space left on device');
    })();
    await assert.rejects(replaceFile(path, broken as unknown as string), {
      message: 'no space left on device',
    });
    assert.equal(await readFile(path, 'utf8'), 'old');
    assert.deepEqual(await readdir(folder), ['snapshot.json']);
  });

  it('leaves nothing behind when the name is taken by a folder', async () => {
    await mkdir(path);
    await assert.rejects(replaceFile(path, 'new'), { code: 'EISDIR' });
    assert.deepEqual(await readdir(folder), ['snapshot.json']);
    assert.ok((await stat(path)).isDirectory());
  });

  it('fails where there is no folder', async () => {
    await assert.rejects(replaceFile(join(folder, 'none', 'x'), 'new'), { code: 'ENOENT' });
  });

  it('keeps one whole content when several write at once', async () => {
    const contents = Array.from({ length: 8 }, (_, at) => String(at).repeat(10_000));
    await Promise.all(contents.map((content) => replaceFile(path, content)));
    assert.ok(contents.includes(await readFile(path, 'utf8')));
    assert.deepEqual(await readdir(folder), ['snapshot.json']);
  });
});
