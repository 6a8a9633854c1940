import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createLog } from '#kit/log.ts';
import {
  runApply,
  runDelete,
  runDiff,
  runGet,
  runLint,
} from '../../gateway/cli/objects-commands.ts';
import { apply } from '../../gateway/cli/objects.ts';
import { openEmbeddedStore } from '../../registry/store/embedded.ts';
import type { Store } from '../../registry/store/store.ts';

let folder: string;
let store: Store;
let lines: string[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gatemesh-objects-'));
  lines = [];
  const file = join(folder, 'registry.db');
  await write('gateway.yaml', `node: vm-a\ndataDir: ${folder}\nregistry: { embedded: {} }\n`);
  store = await openEmbeddedStore({ file, log: createLog({ level: 'silent' }) });
});

afterEach(async () => {
  await store.close();
  await rm(folder, { recursive: true, force: true });
});

async function write(name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
  return file;
}

type Run = typeof runGet;

async function run(command: Run, ...argv: string[]) {
  lines = [];
  const env = { GATEMESH_CONFIG: join(folder, 'gateway.yaml') };
  return command(argv, { out: (line) => lines.push(line), env });
}

async function applyAll(): Promise<void> {
  await write('all/services/orders.json', '{"subsets":{"v1":{"version":"1"}}} // by hand');
  await write('all/routes/orders.json', '{"host":"orders.mesh","to":"orders@v1",}');
  await write('all/mesh.json', '{}');
  assert.equal(await run(runApply, '-f', join(folder, 'all')), 0);
}

describe('gatemesh apply', () => {
  it('writes a directory in one revision, in canonical form', async () => {
    await applyAll();
    assert.deepEqual(lines, [
      'config/mesh created',
      'config/routes/orders created',
      'config/services/orders created',
      'revision 2',
    ]);
    const entry = await store.get('config/routes/orders');
    assert.equal(entry?.value, '{\n  "host": "orders.mesh",\n  "to": "orders@v1"\n}\n');
    assert.equal((await store.get('config/mesh'))?.modRevision, entry.modRevision);
  });

  it('leaves alone what is the same', async () => {
    await applyAll();
    const file = await write('all/routes/orders.json', '{"to":"orders","host":"orders.mesh"}');
    assert.equal(await run(runApply, '-f', join(folder, 'all'), '--json'), 0);
    assert.deepEqual(JSON.parse(lines.join('\n')), {
      revision: 3,
      objects: [
        { key: 'config/mesh', change: 'unchanged' },
        { key: 'config/routes/orders', change: 'changed' },
        { key: 'config/services/orders', change: 'unchanged' },
      ],
    });
    assert.equal(await run(runApply, '-f', file), 0);
    assert.deepEqual(lines, ['config/routes/orders unchanged', 'revision 3']);
  });

  it('writes nothing when anything is wrong, and lists all of it', async () => {
    const bad = await write('routes/bad.json', '{"host":"a","to":"web","timeot":"1s"}');
    const text = await write('routes/text.json', "{'host':'a'}");
    const good = await write('services/web.json', '{}');
    await assert.rejects(run(runApply, '-f', bad, '-f', text, '-f', good), (error: Error) => {
      assert.equal((error as Error & { exitCode: number }).exitCode, 64);
      const [head, first, second, ...rest] = error.message.split('\n');
      assert.equal(head, '2 problems; nothing is written:');
      assert.match(
        first!,
        /bad\.json: config\/routes\/bad: \$\.timeot: .*Did you mean "timeout"\?$/,
      );
      assert.match(second!, /text\.json: config\/routes\/text: \$: wanted double quotes/);
      assert.deepEqual(rest, []);
      return true;
    });
    assert.deepEqual((await store.range('')).entries, []);
  });

  it('refuses references to nothing, in the files and in the registry', async () => {
    const route = await write('routes/r.json', '{"host":"a","to":"oders"}');
    await applyAll();
    await assert.rejects(run(runApply, '-f', route), {
      code: 'objects_invalid',
      message: `a problem; nothing is written:\n  ${route}: config/routes/r: $.to: wanted the name of a service that exists; got "oders". Did you mean "orders"?`,
    });
    const service = await write('services/orders.json', '{"subsets":{"v2":{"version":"2"}}}');
    await assert.rejects(run(runApply, '-f', service), {
      message:
        'a problem; nothing is written:\n  registry, revision 2: config/routes/orders: $.to: wanted the name of a subset of orders that exists; got "v1". Did you mean "v2"?',
    });
  });

  it('does not overwrite what somebody else changed meanwhile', async () => {
    await applyAll();
    const files = [
      await write('services/orders.json', '{"timeout":"3s","subsets":{"v1":{"a":"b"}}}'),
    ];
    const raced: Store = {
      ...store,
      name: store.name,
      range: (prefix) => store.range(prefix),
      txn: async (txn) => {
        await store.put('config/services/orders', '{"subsets":{"v1":{"version":"9"}}}');
        return store.txn(txn);
      },
    };
    await assert.rejects(
      apply({ files, json: false }, raced, () => undefined),
      {
        code: 'conflict',
        message:
          'somebody changed config/services/orders meanwhile; nothing is written. Run it again',
      },
    );
  });

  it('wants to know which object a file is', async () => {
    const file = await write('thing.json', '{"host":"a"}');
    await assert.rejects(run(runApply, '-f', file), {
      code: 'objects_invalid',
      message: /thing\.json: \$: wanted a name that says which object this is\./,
    });
  });
});

describe('one object by its name', () => {
  it('is taken back by apply as get printed it', async () => {
    await applyAll();
    const before = await store.get('config/routes/orders');
    await run(runGet, 'routes', 'orders');
    const file = await write('printed.txt', lines.join('\n'));
    await store.delete('config/routes/orders');
    assert.equal(await run(runApply, 'routes', 'orders', '-f', file), 0);
    assert.equal((await store.get('config/routes/orders'))?.value, before?.value);
    assert.equal(await run(runDiff, 'config/routes/orders', '-f', file), 0);
    assert.deepEqual(lines, []);
  });

  it('comes from standard input, between two processes', async () => {
    await applyAll();
    const before = await store.get('config/routes/orders');
    const file = join(folder, 'registry.db');
    const main = join(import.meta.dirname, '../../gateway/main.ts');
    const gatemesh = (argv: string[], input = '') =>
      spawnSync(process.execPath, [main, ...argv, '--embedded', file], { input, encoding: 'utf8' });
    const printed = gatemesh(['get', 'config/routes/orders']);
    await store.delete('config/routes/orders');
    const applied = gatemesh(['apply', 'config/routes/orders', '-f', '-'], printed.stdout);
    assert.match(applied.stdout, /^config\/routes\/orders created\n/, applied.stderr);
    assert.equal((await store.get('config/routes/orders'))?.value, before?.value);
  });

  it('is one word or two, for every command', async () => {
    await applyAll();
    for (const words of [['config/routes/orders'], ['routes/orders'], ['route', 'orders']]) {
      assert.equal(await run(runGet, ...words), 0);
      assert.match(lines[0]!, /"host": "orders\.mesh"/);
    }
    assert.equal(await run(runGet, 'config/routes'), 0);
    assert.deepEqual(lines, ['config/routes/orders  revision 2']);
    assert.equal(await run(runDelete, 'config/routes/orders'), 0);
    assert.equal(await run(runDelete, 'config/mesh'), 0);
  });

  it('is checked under its own key', async () => {
    await applyAll();
    const file = await write('thing', '{"host":"a"}');
    await assert.rejects(run(runApply, 'routes', 'a', '-f', file), {
      message: /thing: config\/routes\/a: \$\.to: wanted a service/,
    });
    const folderOf = (args: string[]) => run(runApply, ...args, '-f', folder);
    await assert.rejects(folderOf(['routes', 'a']), {
      code: 'usage',
      message: /^gatemesh apply: wanted one file with KIND NAME; got the directory /,
    });
    await assert.rejects(folderOf(['rotues', 'a']), { message: /unknown kind "rotues"/ });
    await assert.rejects(folderOf(['routes']), { message: /wanted KIND NAME; got "routes"/ });
  });
});

describe('YAML', () => {
  it('is not left out without a word', async () => {
    const yaml = await write('dir/routes/a.yaml', 'host: a');
    const yml = await write('dir/routes/b.YML', 'host: b');
    await write('dir/services/web.json', '{}');
    const message = `documents are JSON; ${yaml} is not read\ndocuments are JSON; ${yml} is not read`;
    for (const command of [runApply, runDiff]) {
      const failure = { code: 'not_json', exitCode: 64, message };
      await assert.rejects(run(command, '-f', join(folder, 'dir')), failure);
    }
    assert.deepEqual((await store.range('')).entries, []);
    await assert.rejects(run(runApply, '-f', yaml), {
      code: 'not_json',
      message: `documents are JSON; ${yaml} is not read`,
    });
    assert.equal(await run(runLint, join(folder, 'dir')), 64);
    assert.deepEqual(lines, [...message.split('\n'), '1 object, no problem']);
    assert.equal(await run(runLint, join(folder, 'dir'), '--json'), 64);
    assert.deepEqual(JSON.parse(lines.join('\n')), {
      checked: 1,
      problems: [],
      unread: [yaml, yml],
    });
  });
});

describe('gatemesh get', () => {
  it('lists, prints one, and prints what apply takes back', async () => {
    await applyAll();
    await run(runGet);
    assert.deepEqual(lines, [
      'config/mesh             revision 2',
      'config/routes/orders    revision 2',
      'config/services/orders  revision 2',
    ]);
    await run(runGet, 'route', 'orders');
    assert.deepEqual(lines, ['{\n  "host": "orders.mesh",\n  "to": "orders@v1"\n}']);

    await run(runGet, '--json');
    const backup = await write('backup.json', lines.join('\n'));
    for (const { key } of (await store.range('config/')).entries) await store.delete(key);
    await run(runGet);
    assert.deepEqual(lines, ['nothing under config/']);
    assert.equal(await run(runApply, '-f', backup), 0);
    assert.equal((await store.range('config/')).entries.length, 3);
  });

  it('shows a broken text as it stands', async () => {
    await store.put('config/routes/bad', '{oops');
    await run(runGet, 'routes', 'bad');
    assert.deepEqual(lines, ['{oops']);
  });

  const refused: readonly [name: string, argv: readonly string[], message: RegExp][] = [
    [
      'a kind that is none',
      ['rotues'],
      /^gatemesh get: unknown kind "rotues"\. Did you mean "routes"\?\nusage: /,
    ],
    [
      'a name that is none',
      ['routes', 'A/b'],
      /^gatemesh get: wanted a name of at most 63 .*; got "A\/b"\n/,
    ],
    [
      'a word too many',
      ['routes', 'a', 'b'],
      /^gatemesh get: wanted \[KIND \[NAME\]\]; got "routes" "a" "b"\n/,
    ],
    [
      'a flag that is none',
      ['--jsno'],
      /^gatemesh get: unknown flag "--jsno"\. Did you mean "--json"\?\n/,
    ],
  ];
  for (const [name, argv, message] of refused) {
    it(`refuses ${name}`, () =>
      assert.rejects(run(runGet, ...argv), { code: 'usage', exitCode: 64, message }));
  }

  it('says what is not there, and what may have been meant', async () => {
    await applyAll();
    await assert.rejects(run(runGet, 'routes', 'order'), {
      code: 'not_found',
      exitCode: 1,
      message:
        'there is no config/routes/order in the registry. Did you mean "config/routes/orders"?',
    });
    await store.put('config/routes/shop', '{}');
    for (const command of [runGet, runDelete]) {
      await assert.rejects(run(command, 'routes', 'q'), {
        message: 'there is no config/routes/q in the registry',
      });
    }
  });
});

describe('gatemesh delete', () => {
  it('keeps what is pointed at, unless forced', async () => {
    await applyAll();
    await assert.rejects(run(runDelete, 'services', 'orders'), {
      code: 'still_used',
      message:
        'config/services/orders is pointed at (--force deletes it all the same):\n  registry, revision 2: config/routes/orders: $.to: wanted the name of a service that exists (there is none); got "orders"',
    });
    assert.equal(await run(runDelete, 'services', 'orders', '--force'), 0);
    assert.deepEqual(lines, ['config/services/orders deleted\nrevision 3']);
    assert.equal(await run(runDelete, 'mesh'), 0);
    await assert.rejects(run(runDelete, 'mesh'), { code: 'not_found' });
  });
});

describe('gatemesh diff', () => {
  it('shows lines, and exits 1 when there is a difference', async () => {
    await applyAll();
    assert.equal(await run(runDiff, '-f', join(folder, 'all')), 0);
    assert.deepEqual(lines, []);
    await write('all/routes/orders.json', '{"host":"orders.mesh","to":"orders"}');
    assert.equal(await run(runDiff, '-f', join(folder, 'all')), 1);
    assert.deepEqual(lines, [
      'config/routes/orders changed',
      '    {',
      '      "host": "orders.mesh",',
      '  -   "to": "orders@v1"',
      '  +   "to": "orders"',
      '    }',
    ]);
  });
});

describe('gatemesh lint', () => {
  it('lists every problem of every key', async () => {
    await applyAll();
    assert.equal(await run(runLint), 0);
    assert.deepEqual(lines, ['3 keys, no problem']);
    await store.put('config/routes/bad', '{"host":"a","to":"order"}');
    await store.put('config/rotues/x', '{}');
    await store.put('status/vm-a', '[]');
    assert.equal(await run(runLint, '--json'), 1);
    const report = JSON.parse(lines.join('\n')) as {
      checked: number;
      problems: { key: string; hint?: string }[];
    };
    assert.equal(report.checked, 6);
    assert.deepEqual(
      report.problems.map(({ key, hint }) => [key, hint]),
      [
        ['config/rotues/x', 'config/routes/x'],
        ['status/vm-a', undefined],
        ['config/routes/bad', 'orders'],
      ],
    );
  });

  it('checks files without a registry, as far as they decide', async () => {
    await write('gateway.yaml', 'nonsense: true\n');
    await write('dir/services/orders.json', '{"subsets":{"v1":{"version":"1"}}}');
    await write(
      'dir/routes/a.json',
      '{"host":"a","gateways":["public"],"to":["orders@v1","elsewhere@v7"]}',
    );
    assert.equal(await run(runLint, join(folder, 'dir')), 0);
    assert.deepEqual(lines, ['2 objects, no problem']);
    const file = await write('dir/routes/b.json', '{"host":"a","to":"orders@v2"}');
    assert.equal(await run(runLint, join(folder, 'dir')), 1);
    assert.deepEqual(lines, [
      `${file}: config/routes/b: $.to: wanted the name of a subset of orders that exists; got "v2". Did you mean "v1"?`,
      '3 objects, 1 problem',
    ]);
  });
});

describe('documents that are there but broken', () => {
  const broken: readonly [key: string, text: string, dependent: string, document: string][] = [
    [
      'config/gateways/public',
      '{"listeners":[{"prot":80}]}',
      'config/routes/r',
      '{"host":"a","gateways":["public"],"to":"web"}',
    ],
    ['config/services/orders', '{oops', 'config/routes/r', '{"host":"a","to":"orders@v1"}'],
    [
      'config/certificates/shop',
      '{}',
      'config/gateways/g',
      '{"listeners":[{"port":443,"protocol":"https","certificates":["shop"]}]}',
    ],
  ];
  for (const [key, text, dependent, document] of broken) {
    it(`lint tells of ${key} once, and not again for what points at it`, async () => {
      await store.put('config/services/web', '{}');
      const { revision } = await store.put(key, text);
      await store.put(dependent, document);
      assert.equal(await run(runLint), 1);
      assert.deepEqual(
        lines.filter((line) => line.includes(dependent)),
        [],
      );
      assert.ok(
        lines.every(
          (line) =>
            !line.includes(': ') || line.startsWith(`registry, revision ${revision}: ${key}: `),
        ),
      );
    });

    it(`apply says that ${key} is what is wrong`, async () => {
      await store.put('config/services/web', '{}');
      await store.put(key, text);
      const file = await write(`${dependent.replace('config/', '')}.json`, document);
      await assert.rejects(run(runApply, '-f', file), {
        code: 'objects_invalid',
        message: new RegExp(`that is in force; got "[a-z]+", and ${key} is itself rejected$`),
      });
    });
  }

  it('are in files as in the registry', async () => {
    await write('dir/gateways/public.json', '{"listeners":[{"prot":80}]}');
    await write('dir/gateways/other.json', '{"listeners":[{"port":80}]}');
    await write('dir/routes/r.json', '{"host":"a","gateways":["public"],"to":"web"}');
    assert.equal(await run(runLint, join(folder, 'dir')), 1);
    assert.match(lines[0]!, /config\/gateways\/public: \$\.listeners\[0\]\.port/);
    assert.ok(lines.every((line) => !line.includes('config/routes/r')));
  });
});

describe('every command', () => {
  const commands = [runGet, runApply, runDelete, runDiff, runLint];
  it('has --help', async () => {
    for (const command of commands) {
      assert.equal(await run(command, '--help'), 0);
      assert.match(lines[0]!, /^usage: gatemesh /);
    }
  });

  it('says when the configuration that names the registry is not there', async () => {
    await rm(join(folder, 'gateway.yaml'));
    await assert.rejects(run(runGet), {
      code: 'config_unreadable',
      exitCode: 64,
      message: /there is no such file; name it with --config FILE$/,
    });
  });

  it('complains about its words before it looks for a registry', async () => {
    await rm(join(folder, 'gateway.yaml'));
    for (const command of [runGet, runDelete]) {
      await assert.rejects(run(command, 'rout', 'a'), { message: /unknown kind "rout"\n/ });
    }
    const apply = run(runApply, 'rout', 'a', '-f', '-');
    await assert.rejects(apply, { message: /unknown kind "rout"\n/ });
  });

  it('says when etcd cannot be reached, with a scheme or without, by flag or environment', async () => {
    const failure = {
      code: 'store_unreachable',
      exitCode: 69,
      message: /http:\/\/127\.0\.0\.1:1\b/,
    };
    await assert.rejects(run(runGet, '--etcd', 'http://127.0.0.1:1'), failure);
    await assert.rejects(run(runGet, '--etcd', '127.0.0.1:1'), failure);
    const io = { out: () => undefined, env: { GATEMESH_ETCD: '127.0.0.1:1' } };
    await assert.rejects(runGet([], io), failure);
  });

  it('takes an embedded registry, if it is there', async () => {
    await applyAll();
    await rm(join(folder, 'gateway.yaml'));
    assert.equal(await run(runGet, '--embedded', join(folder, 'registry.db')), 0);
    assert.equal(lines.length, 3);
    await assert.rejects(run(runGet, '--embedded', join(folder, 'other.db')), {
      code: 'usage',
      message: /^gatemesh get: --embedded: there is no file .*other\.db\nusage: /,
    });
  });

  const wrong: readonly [argv: string, message: RegExp][] = [
    ['--etcd a --embedded b', /wanted one registry; got --etcd and --embedded/],
    ['--etcd ftp://a', /--etcd: wanted an address such as .*; got "ftp:\/\/a"/],
    ['--etcd http://a --etcd-ca /ca.pem', /--etcd: wanted https, since there are TLS files/],
    ['--etcd a --etcd-cert /c.pem', /wanted --etcd-cert and --etcd-key together/],
    ['--etcd-ca /ca.pem', /--etcd-ca goes with --etcd URL; got none/],
    ['--etcd a:1 --etcd-ca /nonexistent/ca.pem', /cannot read .* \/nonexistent\/ca\.pem/],
  ];
  for (const [argv, message] of wrong) {
    it(`refuses ${argv}`, () =>
      assert.rejects(run(runGet, ...argv.split(' ')), { exitCode: 64, message }));
  }
});
