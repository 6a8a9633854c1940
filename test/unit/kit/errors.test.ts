import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';

describe('MeshError', () => {
  it('carries code, message and cause, and exits 1', () => {
    const cause = new Error('connect ECONNREFUSED');
    const error = new MeshError('registry_unreachable', 'etcd does not answer', { cause });
    assert.equal(error.name, 'MeshError');
    assert.equal(error.code, 'registry_unreachable');
    assert.equal(error.message, 'etcd does not answer');
    assert.equal(error.cause, cause);
    assert.equal(error.exitCode, EXIT.failed);
  });

  it('exits as it is told', () => {
    const error = new MeshError('config_invalid', 'no', { exitCode: EXIT.usage });
    assert.equal(error.exitCode, 64);
  });

  it('has no cause when there is none', () => {
    assert.equal(Object.hasOwn(new MeshError('x', 'y'), 'cause'), false);
  });
});

describe('messageOf', () => {
  const refused = [
    new Error('connect ECONNREFUSED ::1:1'),
    new Error('connect ECONNREFUSED 127.0.0.1:1'),
  ];
  const cases: readonly (readonly [name: string, thrown: unknown, text: string])[] = [
    ['an error', new Error('no such file'), 'no such file'],
    ['a string', 'gone', 'gone'],
    ['nothing', undefined, 'undefined'],
    [
      'a name with two addresses that both refuse',
      new AggregateError(refused, ''),
      'connect ECONNREFUSED ::1:1; connect ECONNREFUSED 127.0.0.1:1',
    ],
    ['several failures that say so', new AggregateError(refused, 'both failed'), 'both failed'],
  ];
  for (const [name, thrown, text] of cases) {
    it(name, () => {
      assert.equal(messageOf(thrown), text);
    });
  }
});
