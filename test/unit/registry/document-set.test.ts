import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { DocumentSet, type DocumentText } from '../../../registry/document-set.ts';
import { rules } from './rules.ts';

describe('DocumentSet', () => {
  let set: DocumentSet;
  let revision = 0;
  beforeEach(() => {
    set = new DocumentSet(rules);
    revision = 0;
  });

  /** One revision: `key text` puts, `-key` deletes. Returns what changed: `+key`, `-key`. */
  function apply(...changes: string[]): string[] {
    revision++;
    const deletes = changes.filter((change) => change.startsWith('-')).map((key) => key.slice(1));
    const puts = changes.filter((change) => !change.startsWith('-')).map((change) => text(change));
    const difference = set.apply(puts, deletes);
    return [
      ...difference.put.map(([key]) => `+${key}`),
      ...difference.deleted.map((key) => `-${key}`),
    ];
  }
  function text(change: string): DocumentText {
    const space = change.indexOf(' ');
    return { key: change.slice(0, space), revision, text: change.slice(space + 1) };
  }
  const refused = () =>
    set.rejections.map(({ key, revision: at, using }) => `${key} ${at} using ${using}`);

  it('puts a good document in force', () => {
    assert.deepEqual(apply('config/services/web {}'), ['+config/services/web']);
    assert.equal(set.documents.get('config/services/web')?.kind, 'services');
    assert.deepEqual(set.rejections, []);
  });

  it('keeps the last good version of a document that does not parse', () => {
    apply('config/services/web {"timeout":1}');
    assert.deepEqual(apply('config/services/web bad'), []);
    assert.deepEqual(set.rejections, [
      {
        key: 'config/services/web',
        revision: 2,
        path: '$.x',
        error: '$.x: wanted better; got bad. Did you mean "try"?',
        hint: 'try',
        using: 1,
      },
    ]);
    assert.deepEqual(
      [...set.texts()],
      [{ key: 'config/services/web', revision: 1, text: '{"timeout":1}' }],
    );
  });

  it('has nothing in force for a document that was never good', () => {
    assert.deepEqual(apply('config/services/web bad'), []);
    assert.equal(set.documents.size, 0);
    assert.deepEqual(refused(), ['config/services/web 1 using null']);
  });

  it('survives a parser that throws', () => {
    assert.deepEqual(apply('config/services/web crash', 'config/services/api {}'), [
      '+config/services/api',
    ]);
    assert.deepEqual(refused(), ['config/services/web 1 using null']);
  });

  it('clears the rejection of a document that is corrected, or set back to what it was', () => {
    apply('config/services/web {"a":1}', 'config/services/api {"a":1}');
    apply('config/services/web bad', 'config/services/api bad');
    assert.deepEqual(apply('config/services/web {"a":2}'), ['+config/services/web']);
    assert.deepEqual(apply('config/services/api {"a":1}'), []);
    assert.deepEqual(set.rejections, []);
    assert.equal(set.textOf('config/services/api')?.revision, 4);
  });

  it('deletes a refused document with its last good version', () => {
    apply('config/services/web {}');
    apply('config/services/web bad', 'config/services/never bad');
    assert.deepEqual(apply('-config/services/web', '-config/services/never'), [
      '-config/services/web',
    ]);
    assert.deepEqual(set.rejections, []);
    assert.equal(set.documents.size, 0);
  });

  it('accepts a route together with the service it points at, whatever their order', () => {
    assert.deepEqual(apply('config/routes/a {"to":"web"}', 'config/services/web {}'), [
      '+config/routes/a',
      '+config/services/web',
    ]);
  });

  const appearances: readonly [name: string, waiting: string, appears: string][] = [
    ['a service document', 'config/routes/a {"to":"web"}', 'config/services/web {}'],
    ['a first instance', 'config/routes/a {"to":"web"}', 'nodes/n/instances/web/1 {}'],
    [
      'a subset',
      'config/routes/a {"to":"api","subset":"v2"}',
      'config/services/api {"subsets":{"v2":{}}}',
    ],
  ];
  for (const [name, waiting, appears] of appearances) {
    it(`accepts a waiting document when it gets ${name}`, () => {
      apply('config/services/api {}');
      assert.deepEqual(apply(waiting), []);
      assert.deepEqual(refused(), ['config/routes/a 2 using null']);
      assert.deepEqual(apply(appears), [`+${appears.split(' ')[0]}`, '+config/routes/a']);
      assert.deepEqual(refused(), []);
      assert.equal(set.textOf('config/routes/a')?.revision, 2);
    });
  }

  it('does not bring a waiting version back over a newer one of the same revision', () => {
    apply('config/routes/a {"to":"web"}');
    apply('config/services/web {}', 'config/routes/a {"to":"web","n":2}');
    assert.equal(set.textOf('config/routes/a')?.text, '{"to":"web","n":2}');
    apply('config/routes/b {"to":"api"}');
    apply('config/services/api {}', 'config/routes/b bad');
    assert.deepEqual(refused(), ['config/routes/b 4 using null']);
  });

  it('keeps what was accepted when what it points at goes', () => {
    apply('nodes/n/instances/web/1 {}', 'config/services/api {"subsets":{"v1":{}}}');
    apply('config/routes/a {"to":"web"}', 'config/routes/b {"to":"api","subset":"v1"}');
    apply('-nodes/n/instances/web/1', '-config/services/api');
    assert.deepEqual(refused(), []);
    // The service was known once and stays so; its subset does not.
    assert.deepEqual(apply('config/routes/c {"to":"web"}'), ['+config/routes/c']);
    assert.deepEqual(apply('config/routes/d {"to":"api","subset":"v1"}'), []);
  });

  it('restores accepted documents whatever they point at, and says which do not parse', () => {
    set = new DocumentSet(rules, ['known']);
    const restored = set.restore([
      { key: 'config/routes/a', revision: 5, text: '{"to":"gone"}' },
      { key: 'config/routes/b', revision: 6, text: 'bad' },
    ]);
    assert.deepEqual(
      restored.put.map(([key]) => key),
      ['config/routes/a'],
    );
    assert.deepEqual(
      restored.refused.map(({ key }) => key),
      ['config/routes/b'],
    );
    // The same text in the registry is the accepted one; another that points nowhere is not.
    assert.deepEqual(apply('config/routes/a {"to":"gone"}', 'config/routes/c {"to":"known"}'), [
      '+config/routes/c',
    ]);
    apply('config/routes/a {"to":"elsewhere"}');
    assert.deepEqual(refused(), ['config/routes/a 2 using 1']);
  });
});
