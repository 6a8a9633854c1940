import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatAddress, parseAddress, type Address } from '#kit/address.ts';

describe('parseAddress', () => {
  const good: readonly (readonly [text: string, address: Address])[] = [
    ['127.0.0.1:8080', { host: '127.0.0.1', port: 8080 }],
    ['0.0.0.0:0', { host: '0.0.0.0', port: 0 }],
    ['vm-a.example.com:65535', { host: 'vm-a.example.com', port: 65_535 }],
    ['[::1]:443', { host: '::1', port: 443 }],
    ['[::ffff:10.0.0.1]:1', { host: '::ffff:10.0.0.1', port: 1 }],
  ];
  for (const [text, address] of good) {
    it(`${text}, and back`, () => {
      assert.deepEqual(parseAddress(text), address);
      assert.equal(formatAddress(address), text);
    });
  }

  const bad: readonly (readonly [why: string, text: string])[] = [
    ['nothing', ''],
    ['a port alone', ':8080'],
    ['a host alone', 'localhost'],
    ['a port above 65535', '127.0.0.1:65536'],
    ['a port in hexadecimal', '127.0.0.1:0x50'],
    ['a negative port', '127.0.0.1:-1'],
    ['IPv6 without brackets', '::1:443'],
    ['brackets around no address', '[]:443'],
    ['brackets around a number', '[1]:443'],
    ['brackets around too many colons', '[:::::]:443'],
    ['brackets around IPv4', '[10.0.0.1]:443'],
    ['a scheme', 'http://127.0.0.1:80'],
    ['a path', '127.0.0.1:80/x'],
    ['a space', '127.0.0.1: 80'],
    ['a line end', '127.0.0.1:80\n'],
    ['two ports', 'a:1:2'],
  ];
  for (const [why, text] of bad) {
    it(`refuses ${why}`, () => {
      assert.equal(parseAddress(text), undefined);
    });
  }
});
