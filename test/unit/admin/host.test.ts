import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mayAnswer } from '../../../gateway/admin/host.ts';

describe('mayAnswer', () => {
  const rows: readonly [name: string, host: string | undefined, bound: string, answer: boolean][] =
    [
      ['localhost', 'localhost:15000', '127.0.0.1', true],
      ['localhost in capitals, no port', 'LOCALHOST', '127.0.0.1', true],
      ['the bound address', '10.0.0.1:15000', '10.0.0.1', true],
      ['another loopback address', '127.0.1.2:15000', '127.0.0.1', true],
      ['IPv6 loopback', '[::1]:15000', '127.0.0.1', true],
      ['a name, whatever it resolves to', 'evil.example:15000', '127.0.0.1', false],
      ['a name that starts like loopback', '127.0.0.1.evil.example', '127.0.0.1', false],
      ['a name under localhost', 'x.localhost', '127.0.0.1', false],
      ['an address that is not ours', '10.0.0.9:15000', '10.0.0.1', false],
      ['any address on a wildcard', '10.0.0.9:15000', '0.0.0.0', true],
      ['no name on a wildcard', 'evil.example', '::', false],
      ['no Host', undefined, '127.0.0.1', false],
      ['an empty Host', '', '127.0.0.1', false],
      ['credentials before it', 'localhost@evil.example', '127.0.0.1', false],
      ['two colons', 'localhost:1:2', '127.0.0.1', false],
    ];
  for (const [name, host, bound, answer] of rows) {
    it(`${name}: ${answer ? 'yes' : 'no'}`, () => {
      assert.equal(mayAnswer(host, { host: bound, port: 15_000 }), answer);
    });
  }
});
