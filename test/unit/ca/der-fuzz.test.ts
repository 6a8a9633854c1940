import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { encodeRequest } from '../../../ca/certificate.ts';
import { decode, encode, integer, integerOf, oid, oidOf, time, timeOf } from '../../../ca/der.ts';
import { checkSvid } from '../../../ca/identity.ts';
import { fromPem } from '../../../ca/pem.ts';
import { generateSigner } from '../../../ca/signer.ts';
import { readPublicKey, readRequest, verifyEcdsa } from '../../../ca/x509.ts';
import { MeshError } from '#kit/errors.ts';
import { testPki } from '../../support/pki.ts';

/** Bytes of `original` with a few overwritten, cut out or put in: close enough to get past the first check. */
function damaged(original: Buffer): fc.Arbitrary<Buffer> {
  const at = fc.nat(original.length - 1);
  const edit = fc.record({ at, cut: fc.nat(3), put: fc.uint8Array({ maxLength: 4 }) });
  return fc
    .array(edit, { minLength: 1, maxLength: 4 })
    .map((edits) =>
      edits.reduce<Buffer>(
        (bytes, { at: start, cut, put }) =>
          Buffer.concat([bytes.subarray(0, start), put, bytes.subarray(start + cut)]),
        original,
      ),
    );
}

function noise(original: Buffer): fc.Arbitrary<Buffer> {
  const random = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes));
  return fc.oneof({ weight: 4, arbitrary: damaged(original) }, { weight: 1, arbitrary: random });
}

const RUNS = { numRuns: 3_000 };

describe('whatever the bytes', () => {
  it('a request is read or refused, and signed by its key only if it is whole', () => {
    const { signer } = generateSigner();
    const request = encodeRequest(signer);
    fc.assert(
      fc.property(noise(request), (bytes) => {
        try {
          const fields = readRequest(bytes);
          const key = readPublicKey(fields.spki);
          const proved = key !== undefined && verifyEcdsa(fields, key);
          assert.ok(!proved || bytes.equals(request));
        } catch (error) {
          assert.ok(error instanceof MeshError && error.code === 'malformed_der', String(error));
        }
      }),
      RUNS,
    );
  });

  it('a certificate is judged, never thrown on', () => {
    const leaf = fromPem(
      'CERTIFICATE',
      testPki('mesh.test').svid('svc', 'web').certPem,
      'test',
    )[0]!;
    fc.assert(
      fc.property(noise(leaf), (bytes) => {
        assert.equal(typeof checkSvid(bytes, 'mesh.test').ok, 'boolean');
      }),
      RUNS,
    );
  });

  it('what is decoded is encoded to the same bytes', () => {
    const request = encodeRequest(generateSigner().signer);
    fc.assert(
      fc.property(noise(request), (bytes) => {
        try {
          assert.deepEqual(encode(decode(bytes, 'test', 1000)), bytes);
        } catch (error) {
          assert.ok(error instanceof MeshError && error.code === 'malformed_der', String(error));
        }
      }),
      RUNS,
    );
  });
});

describe('what is written is read back', () => {
  it('integers', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 20 }), (bytes) => {
        const value = BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
        const read = integerOf(decode(encode(integer(Buffer.from(bytes))), 'test', 30), 'test');
        assert.equal(BigInt(`0x${read.toString('hex')}`), value);
      }),
    );
  });

  it('times from 1950 to 9999', () => {
    const seconds = fc.integer({ min: Date.UTC(1950, 0) / 1000, max: Date.UTC(9999, 11) / 1000 });
    fc.assert(
      fc.property(seconds, (second) => {
        assert.equal(timeOf(time(second * 1000), 'test'), second * 1000);
      }),
    );
  });

  it('object identifiers', () => {
    const arcs = fc.array(fc.nat(), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(fc.nat(1), fc.nat(39), arcs, (first, second, rest) => {
        const dotted = [first, second, ...rest].join('.');
        assert.equal(oidOf(oid(dotted), 'test'), dotted);
      }),
    );
  });

  it('public keys, in one spelling', () => {
    const { spki } = generateSigner().signer;
    const key = readPublicKey(spki)!;
    assert.ok(key.equals(createPublicKey({ key: spki, format: 'der', type: 'spki' })));
  });
});
