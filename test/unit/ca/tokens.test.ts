import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Enrolment } from '../../../ca/policy.ts';
import { checkToken, mintToken, parseToken, redeemToken, tokenKey } from '../../../ca/tokens.ts';
import { openEmbeddedStore } from '../../../registry/store/embedded.ts';
import type { Store } from '../../../registry/store/store.ts';
import { silentLog } from '../../support/ca.ts';

const NOW_MS = Date.UTC(2026, 10, 1, 12);
const FINGERPRINT = `sha256:${'ab'.repeat(32)}`;
const VM_A: Enrolment = { node: 'vm-a', services: ['web', 'orders'], gateway: 'public' };
const REFUSED = {
  code: 'token_refused',
  message:
    'the token was used already, has expired, or was not made by this authority. Make a new one on the CA host: gatemesh ca token --node NAME',
};

let store: Store;
before(async () => {
  store = await openEmbeddedStore({ file: ':memory:', log: silentLog });
});
after(() => store.close());

const mint = (enrolment = VM_A) => mintToken(store, enrolment, FINGERPRINT, 600_000, NOW_MS);

describe('parseToken', () => {
  const id = '0123456789abcdef';
  const secret = 'A'.repeat(43);
  const print = 'ab'.repeat(32);
  it('reads what was printed, line end and all', () => {
    assert.deepEqual(parseToken(`gm1.${id}.${secret}.${print}\n`), {
      id,
      secret,
      fingerprint: FINGERPRINT,
    });
  });
  const rows: readonly (readonly [name: string, text: string])[] = [
    ['nothing', ''],
    ['another version', `gm2.${id}.${secret}.${print}`],
    ['a short secret', `gm1.${id}.${secret.slice(1)}.${print}`],
    ['no fingerprint', `gm1.${id}.${secret}`],
    ['a path in the id', `gm1.../../config/mes.${secret}.${print}`],
    ['two tokens', `gm1.${id}.${secret}.${print}\ngm1.${id}.${secret}.${print}`],
  ];
  for (const [name, text] of rows) {
    it(`refuses ${name}`, () => assert.equal(parseToken(text), undefined));
  }
});

describe('a token', () => {
  it('is worth what it was made for', async () => {
    const { text } = await mint();
    assert.deepEqual(await checkToken(store, parseToken(text)!, NOW_MS), VM_A);
  });

  it('has 256 random bits that the registry does not know', async () => {
    const { id, text } = await mint();
    const { secret, fingerprint } = parseToken(text)!;
    assert.equal(Buffer.from(secret, 'base64url').length, 32);
    assert.equal(fingerprint, FINGERPRINT);
    const { entries } = await store.range('');
    assert.ok(entries.some(({ key }) => key === tokenKey(id)));
    for (const { value } of entries) assert.ok(!value.includes(secret));
  });

  it('is leased, so that it goes by itself', async () => {
    const { id } = await mint();
    assert.notEqual((await store.get(tokenKey(id)))?.lease, undefined);
  });

  it('is spent once by 100 that try at the same time', async () => {
    const { text } = await mint();
    const token = parseToken(text)!;
    const answers = await Promise.allSettled(
      Array.from({ length: 100 }, async () => {
        const enrolment = await checkToken(store, token, NOW_MS);
        return redeemToken(store, token, enrolment, NOW_MS);
      }),
    );
    const refused = answers.filter(({ status }) => status === 'rejected');
    assert.equal(refused.length, 99);
    for (const { reason } of refused as PromiseRejectedResult[]) {
      assert.equal(reason.code, 'token_refused');
    }
  });

  it('leaves the enrolment of its node behind', async () => {
    const { id, text } = await mint();
    await redeemToken(store, parseToken(text)!, VM_A, NOW_MS);
    assert.equal(await store.get(tokenKey(id)), undefined);
    assert.deepEqual(JSON.parse((await store.get('ca/nodes/vm-a'))!.value), {
      ...VM_A,
      token: id,
      enrolled: '2026-11-01T12:00:00.000Z',
    });
  });
});

describe('checkToken refuses', () => {
  const token = async () => parseToken((await mint()).text)!;
  it('a spent one', async () => {
    const spent = await token();
    await redeemToken(store, spent, VM_A, NOW_MS);
    await assert.rejects(checkToken(store, spent, NOW_MS), REFUSED);
  });
  it('one that has expired before its lease went', async () => {
    await assert.rejects(checkToken(store, await token(), NOW_MS + 600_000), REFUSED);
  });
  it('the right id with another secret', async () => {
    const guess = { ...(await token()), secret: 'A'.repeat(43) };
    await assert.rejects(checkToken(store, guess, NOW_MS), REFUSED);
  });
  it('an id nobody made', async () => {
    const unknown = { ...(await token()), id: '0'.repeat(16) };
    await assert.rejects(checkToken(store, unknown, NOW_MS), REFUSED);
  });
  it('one whose record in the registry was damaged', async () => {
    const damaged = await token();
    await store.put(tokenKey(damaged.id), '{"node":"vm-a"');
    await assert.rejects(checkToken(store, damaged, NOW_MS), REFUSED);
  });
  it('one whose record was replaced by an empty hash', async () => {
    const emptied = await token();
    const record = { ...VM_A, sha256: '', expires: '2030-01-01T00:00:00Z' };
    await store.put(tokenKey(emptied.id), JSON.stringify(record));
    await assert.rejects(checkToken(store, emptied, NOW_MS), REFUSED);
  });
});
