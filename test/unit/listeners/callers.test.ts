import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { keys, ownerIn } from '../../../gateway/worker/listeners/callers.ts';

const HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const row = (ends: string, uid: number, inode: number): string =>
  `  12: ${ends} 00000000:00000000 00:00000000 00000000 ${String(uid).padStart(5)}        0 ${inode} 1 0000000000000000 20 4 30 10 -1\n`;
const KEY = '0100007F:9C40 0100007F:3A99 01';

describe('keys', () => {
  it('spell IPv6 ends as the kernel does', () => {
    const one = '00000000000000000000000001000000';
    assert.deepEqual(keys(['::1', 40_000], ['::1', 15_001]), [`${one}:9C40 ${one}:3A99 01`]);
  });
});

describe('ownerIn', () => {
  const cases: readonly (readonly [
    name: string,
    tables: readonly string[],
    uid: number | undefined,
  ])[] = [
    ['the user of the socket', [HEAD + row(KEY, 1001, 4711)], 1001],
    [
      'not the other end of the connection',
      [HEAD + row('0100007F:3A99 0100007F:9C40 01', 0, 1)],
      undefined,
    ],
    ['nobody when the process has closed it', [HEAD + row(KEY, 0, 0)], undefined],
    [
      'nobody when it is closing',
      [HEAD + row('0100007F:9C40 0100007F:3A99 08', 1001, 4711)],
      undefined,
    ],
    [
      'an IPv6 socket that dialled a mapped address',
      [
        HEAD,
        HEAD +
          row(
            '0000000000000000FFFF00000100007F:9C40 0000000000000000FFFF00000100007F:3A99 01',
            1002,
            5,
          ),
      ],
      1002,
    ],
    ['nobody when it is not there', [HEAD], undefined],
  ];
  for (const [name, tables, uid] of cases)
    it(name, () =>
      assert.equal(ownerIn(tables, keys(['127.0.0.1', 40_000], ['127.0.0.1', 15_001])), uid),
    );
});
