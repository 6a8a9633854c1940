import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  classify,
  configKey,
  instanceKey,
  keyProblem,
  kindFromWord,
  nodeKey,
  statusKey,
  type Key,
} from '../../../registry/documents/keys.ts';

describe('classify', () => {
  const known: readonly [key: string, built: string, parts: Key][] = [
    ['config/mesh', configKey('mesh', 'mesh'), { kind: 'mesh', name: 'mesh' }],
    ['config/services/web', configKey('services', 'web'), { kind: 'services', name: 'web' }],
    ['config/routes/a.b-c', configKey('routes', 'a.b-c'), { kind: 'routes', name: 'a.b-c' }],
    ['config/tcp-routes/db', configKey('tcp-routes', 'db'), { kind: 'tcp-routes', name: 'db' }],
    ['config/intentions/*', configKey('intentions', '*'), { kind: 'intentions', name: '*' }],
    ['config/gateways/p', configKey('gateways', 'p'), { kind: 'gateways', name: 'p' }],
    ['config/certificates/p', configKey('certificates', 'p'), { kind: 'certificates', name: 'p' }],
    [
      'config/nodes/vm-a',
      configKey('node-intents', 'vm-a'),
      { kind: 'node-intents', name: 'vm-a' },
    ],
    ['nodes/vm-a', nodeKey('vm-a'), { kind: 'nodes', name: 'vm-a' }],
    [
      'nodes/vm-a/instances/web/web-1',
      instanceKey('vm-a', 'web', 'web-1'),
      { kind: 'instances', name: 'web-1', node: 'vm-a', service: 'web' },
    ],
    ['status/vm-a', statusKey('vm-a'), { kind: 'status', name: 'vm-a' }],
  ];
  for (const [key, built, parts] of known) {
    it(`knows and builds ${key}`, () => {
      assert.equal(built, key);
      assert.deepEqual(classify(key), parts);
    });
  }

  const unknown = [
    '',
    'config',
    'config/',
    'config/mesh/x',
    'config/routes',
    'config/routes/',
    'config/routes/a/b',
    'config/routes/A',
    'config/routes/*',
    'config/routes/-a',
    `config/routes/${'a'.repeat(64)}`,
    'config/policies/login',
    'config/constructor/a',
    'nodes/',
    'nodes/vm-a/instances',
    'nodes/vm-a/instances/web',
    'nodes/vm-a/instances/web/1/2',
    'nodes/vm-a/others/web/1',
    'status/',
    'ca/roots/1',
    'history/routes/a/1',
    '/config/mesh',
  ];
  for (const key of unknown) {
    it(`does not know ${JSON.stringify(key)}`, () => assert.equal(classify(key), undefined));
  }

  it('takes names of 1 and of 63 characters', () => {
    assert.equal(classify('config/routes/a')?.name, 'a');
    assert.equal(classify(`config/routes/${'a'.repeat(63)}`)?.name, 'a'.repeat(63));
  });
});

describe('builders', () => {
  it('refuse names that would make another key', () => {
    const refusal = { code: 'name_invalid', exitCode: 64 };
    assert.throws(() => configKey('routes', 'a/b'), {
      ...refusal,
      message:
        'routes: wanted a name of at most 63 lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit; got "a/b"',
    });
    assert.throws(() => nodeKey(''), refusal);
    assert.throws(() => instanceKey('vm-a', '*', '1'), refusal);
    assert.throws(() => statusKey('..'), refusal);
  });
});

describe('keyProblem', () => {
  const rows: readonly [key: string, got: string, hint: string | undefined][] = [
    ['config/route/x', 'the key "config/route/x"', 'config/routes/x'],
    ['config/service/x', 'the key "config/service/x"', 'config/services/x'],
    ['config/mehs', 'the key "config/mehs"', 'config/mesh'],
    ['config/bananas/x', 'the key "config/bananas/x"', undefined],
    [
      'config/policies/x',
      'the key "config/policies/x", which is not supported by this version',
      undefined,
    ],
    ['config/tcp-route/x', 'the key "config/tcp-route/x"', 'config/tcp-routes/x'],
    ['elsewhere', 'the key "elsewhere"', undefined],
  ];
  for (const [key, got, hint] of rows) {
    it(`says what is wrong with ${key}`, () => {
      const problem = keyProblem(key);
      assert.equal(problem.got, got);
      assert.equal(problem.hint, hint);
    });
  }

  it('says how names are made', () => {
    assert.match(keyProblem('config/routes/Shop').wanted, /^config\/routes\/<name>: a name of/);
  });
});

describe('kindFromWord', () => {
  const rows: readonly [word: string, kind: string | undefined][] = [
    ['routes', 'routes'],
    ['route', 'routes'],
    ['tcp-route', 'tcp-routes'],
    ['nodes', 'node-intents'],
    ['node', 'node-intents'],
    ['node-intents', 'node-intents'],
    ['mesh', 'mesh'],
    ['instances', undefined],
  ];
  for (const [word, kind] of rows) {
    it(`${word} is ${kind}`, () => assert.equal(kindFromWord(word), kind));
  }
});
