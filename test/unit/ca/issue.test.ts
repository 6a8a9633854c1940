import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { distinguishedName, encodeRequest } from '../../../ca/certificate.ts';
import {
  bitString,
  decode,
  encode,
  integer,
  oid,
  sequence,
  tagged,
  type Der,
} from '../../../ca/der.ts';
import { parseIdentity } from '../../../ca/identity.ts';
import { issue, type IssueRequest, type IssuingAuthority } from '../../../ca/issue.ts';
import { Ledger } from '../../../ca/ledger.ts';
import { toPem } from '../../../ca/pem.ts';
import { rootCertificate } from '../../../ca/profile.ts';
import { generateSigner } from '../../../ca/signer.ts';
import { readCertificate } from '../../../ca/x509.ts';
import { fromPem } from '../../../ca/pem.ts';

const NOW_MS = Date.UTC(2026, 10, 1, 12);
const HOUR_MS = 3_600_000;
const SHA256 = '1.2.840.10045.4.3.2';

const issuerKey = generateSigner().signer;
const issuerDer = rootCertificate('mesh.test', 'test', issuerKey, NOW_MS);
const issuer = { name: readCertificate(issuerDer).subject, signer: issuerKey };

let folder: string;
let authority: IssuingAuthority;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gatemesh-issue-'));
  authority = {
    trustDomain: 'mesh.test',
    issuer: { ...issuer, notAfterMs: NOW_MS + 100 * HOUR_MS },
    issuerPem: toPem('CERTIFICATE', issuerDer),
    ledger: await Ledger.open(join(folder, 'issued.jsonl'), NOW_MS),
    leafTtlMs: 24 * HOUR_MS,
    nowMs: () => NOW_MS,
  };
});
after(async () => {
  await authority.ledger.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Craft {
  readonly version?: number;
  readonly subject?: Der;
  readonly algorithm?: string;
  /** Signs the request; default: the key itself. */
  readonly signedBy?: KeyObject;
}

/** A request whose every part can be wrong. */
function csrOf(key: { publicKey: KeyObject; privateKey: KeyObject }, craft: Craft = {}): Buffer {
  const spki = key.publicKey.export({ format: 'der', type: 'spki' });
  const info = sequence(
    integer(Buffer.of(craft.version ?? 0)),
    craft.subject ?? sequence(),
    decode(spki, 'test', 2048),
    tagged(0),
  );
  const signature = sign('sha256', encode(info), craft.signedBy ?? key.privateKey);
  return encode(sequence(info, sequence(oid(craft.algorithm ?? SHA256)), bitString(signature)));
}

const pem = (der: Buffer): string => toPem('CERTIFICATE REQUEST', der);
const p256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const goodCsr = (): string => pem(encodeRequest(generateSigner().signer));

function asking(change: Partial<IssueRequest> = {}): IssueRequest {
  return {
    caller: { kind: 'operator' },
    requester: 'test',
    identity: 'spiffe://mesh.test/svc/web',
    csr: goodCsr(),
    ...change,
  };
}

describe('issue', () => {
  it('certifies the key of a request for the identity that was asked for', async () => {
    const issued = await issue(asking(), authority);
    const fields = readCertificate(fromPem('CERTIFICATE', issued.certPem, 'test')[0]!);
    assert.deepEqual(fields.subjectAltName, {
      critical: true,
      uris: ['spiffe://mesh.test/svc/web'],
      dnsNames: ['web.svc.mesh.test'],
    });
    assert.equal(fields.notBeforeMs, NOW_MS - 60_000);
    assert.equal(fields.notAfterMs, NOW_MS + 24 * HOUR_MS);
    assert.equal(fromPem('CERTIFICATE', issued.certPem, 'test').length, 2);
  });

  it('takes nothing but the key: not the subject of the request', async () => {
    const csr = pem(
      csrOf(p256(), { subject: decode(distinguishedName('o', 'root'), 'test', 500) }),
    );
    const issued = await issue(asking({ csr }), authority);
    const fields = readCertificate(fromPem('CERTIFICATE', issued.certPem, 'test')[0]!);
    assert.deepEqual(fields.subject, Buffer.of(0x30, 0));
  });

  it('takes a P-384 key signed with SHA-384', async () => {
    const key = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const spki = decode(key.publicKey.export({ format: 'der', type: 'spki' }), 'test', 2048);
    const info = sequence(integer(Buffer.of(0)), sequence(), spki, tagged(0));
    const signature = bitString(sign('sha384', encode(info), key.privateKey));
    const csr = pem(encode(sequence(info, sequence(oid('1.2.840.10045.4.3.3')), signature)));
    assert.match((await issue(asking({ csr }), authority)).serial, /^[0-9a-f]{32}$/);
  });

  it('never signs past the end of its issuer', async () => {
    const ending = { ...authority, issuer: { ...issuer, notAfterMs: NOW_MS + HOUR_MS } };
    assert.equal((await issue(asking(), ending)).notAfterMs, NOW_MS + HOUR_MS);
  });

  it('has the serial in the book when the certificate leaves', async () => {
    const { serial } = await issue(asking({ requester: 'token 0123' }), authority);
    const book = readFileSync(join(folder, 'issued.jsonl'), 'utf8');
    const { key, ...entry } = JSON.parse(book.trim().split('\n').at(-1)!);
    assert.match(key, /^[0-9a-f]{64}$/);
    assert.deepEqual(entry, {
      time: '2026-11-01T12:00:00.000Z',
      event: 'issue',
      serial,
      identity: 'spiffe://mesh.test/svc/web',
      requester: 'token 0123',
      notBefore: '2026-11-01T11:59:00.000Z',
      notAfter: '2026-11-02T12:00:00.000Z',
    });
  });

  it('certifies one key again for the same identity, and for no other', async () => {
    const csr = goodCsr();
    await issue(asking({ csr }), authority);
    await issue(asking({ csr }), authority);
    await assert.rejects(issue(asking({ csr, identity: 'spiffe://mesh.test/svc/b' }), authority), {
      code: 'key_bound',
      status: 403,
      message:
        'certificate request: the key belongs to spiffe://mesh.test/svc/web already. Make a new one for spiffe://mesh.test/svc/b',
    });
  });

  it('certifies one key for one of two identities that ask at the same time', async () => {
    const csr = goodCsr();
    const answers = await Promise.allSettled(
      ['a', 'b'].map((name) =>
        issue(asking({ csr, identity: `spiffe://mesh.test/svc/${name}` }), authority),
      ),
    );
    assert.deepEqual(answers.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
  });
});

describe('issue refuses', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = p256();
  const good = csrOf(key);
  const web = parseIdentity('spiffe://mesh.test/svc/web')!;
  const compressed = encode(
    sequence(
      sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')),
      bitString(Buffer.concat([Buffer.of(2), Buffer.alloc(32, 7)])),
    ),
  );
  const offCurve = Buffer.from(key.publicKey.export({ format: 'der', type: 'spki' }));
  offCurve[offCurve.length - 1]! ^= 1;
  const withSpki = (spki: Buffer): string =>
    pem(
      encode(
        sequence(
          sequence(integer(Buffer.of(0)), sequence(), decode(spki, 'test', 2048), tagged(0)),
          sequence(oid(SHA256)),
          bitString(Buffer.alloc(70)),
        ),
      ),
    );
  const KEY_KIND =
    'certificate request: wanted a P-256 or P-384 key with its point uncompressed. To make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256';
  const SIGNATURE =
    'certificate request: not signed by its own key with ECDSA and SHA-256, SHA-384 or SHA-512';

  type Row = readonly [
    name: string,
    change: Partial<IssueRequest>,
    code: string,
    status: number,
    message: string,
  ];
  const rows: readonly Row[] = [
    [
      'a request that is too large',
      { csr: 'x'.repeat(20_000) },
      'csr_too_large',
      413,
      'certificate request: 20000 characters, at most 11469 are read',
    ],
    [
      'text without PEM',
      { csr: 'hello' },
      'csr_malformed',
      400,
      'certificate request: wanted PEM with "-----BEGIN CERTIFICATE REQUEST-----", got none',
    ],
    [
      'a certificate in its place',
      { csr: toPem('CERTIFICATE', issuerDer) },
      'csr_malformed',
      400,
      'certificate request: wanted PEM with "-----BEGIN CERTIFICATE REQUEST-----", got none',
    ],
    [
      'two requests',
      { csr: pem(good) + pem(good) },
      'csr_malformed',
      400,
      'certificate request: more than one',
    ],
    [
      'bytes after the request',
      { csr: pem(Buffer.concat([good, Buffer.of(5, 0)])) },
      'csr_malformed',
      400,
      'certificate request: not one DER value',
    ],
    [
      'a request cut short',
      { csr: pem(good.subarray(0, -1)) },
      'csr_malformed',
      400,
      'certificate request: not one DER value',
    ],
    [
      'BER that is not DER',
      { csr: pem(Buffer.concat([Buffer.of(0x30, 0x82, 0), good.subarray(2)])) },
      'csr_malformed',
      400,
      'certificate request: not in the one form DER allows',
    ],
    [
      'nesting without end',
      { csr: pem(nested(200)) },
      'csr_malformed',
      400,
      'certificate request: not one DER value',
    ],
    [
      'another version',
      { csr: pem(csrOf(key, { version: 1 })) },
      'csr_malformed',
      400,
      'certificate request: not version 0',
    ],
    ['an RSA key', { csr: pem(csrOf(rsa)) }, 'csr_key_kind', 400, KEY_KIND],
    [
      'a P-521 key',
      { csr: pem(csrOf(generateKeyPairSync('ec', { namedCurve: 'P-521' }))) },
      'csr_key_kind',
      400,
      KEY_KIND,
    ],
    [
      'a secp256k1 key',
      { csr: pem(csrOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }))) },
      'csr_key_kind',
      400,
      KEY_KIND,
    ],
    ['a compressed point', { csr: withSpki(compressed) }, 'csr_key_kind', 400, KEY_KIND],
    ['a point off the curve', { csr: withSpki(offCurve) }, 'csr_key_kind', 400, KEY_KIND],
    [
      "a signature by somebody else's key",
      { csr: pem(csrOf(key, { signedBy: p256().privateKey })) },
      'csr_signature',
      400,
      SIGNATURE,
    ],
    [
      'a signature of another algorithm than it says',
      { csr: pem(csrOf(key, { algorithm: '1.2.840.10045.4.3.4' })) },
      'csr_signature',
      400,
      SIGNATURE,
    ],
    [
      'SHA-1',
      { csr: pem(csrOf(key, { algorithm: '1.2.840.10045.4.1' })) },
      'csr_signature',
      400,
      SIGNATURE,
    ],
    [
      'the key of the authority',
      { csr: pem(encodeRequest(issuerKey)) },
      'key_of_authority',
      403,
      'certificate request: that is the key of this authority',
    ],
    [
      'a name that is no identity',
      { identity: 'spiffe://mesh.test/svc/Web' },
      'identity_malformed',
      400,
      'identity: wanted spiffe://mesh.test/svc/<service>, /node/<node> or /edge/<gateway>, got "spiffe://mesh.test/svc/Web"',
    ],
    [
      'another trust domain',
      { identity: 'spiffe://other.test/svc/web' },
      'trust_domain_mismatch',
      403,
      'spiffe://other.test/svc/web: this authority signs for the trust domain "mesh.test" only',
    ],
    [
      'an identity the caller may not have',
      {
        identity: 'spiffe://mesh.test/svc/payments',
        caller: { kind: 'certificate', identity: web, enrolment: undefined },
      },
      'identity_not_allowed',
      403,
      'spiffe://mesh.test/svc/payments is refused: spiffe://mesh.test/svc/web may renew itself only',
    ],
    [
      'a life that is too long',
      { ttlMs: 31 * 24 * HOUR_MS },
      'ttl_not_allowed',
      400,
      'spiffe://mesh.test/svc/web: a certificate lives from 2s to 30d',
    ],
  ];
  for (const [name, change, code, status, message] of rows) {
    it(name, () =>
      assert.rejects(issue(asking(change), authority), {
        name: 'MeshError',
        code,
        status,
        message,
      }),
    );
  }

  it('anything when its issuer has ended', async () => {
    const ended = { ...authority, issuer: { ...issuer, notAfterMs: NOW_MS + 1_000 } };
    await assert.rejects(issue(asking(), ended), {
      code: 'issuer_ending',
      status: 503,
      message:
        "the issuer's certificate ends at 2026-11-01T12:00:01.000Z: nothing can be signed under it any more. The authority needs a new issuer",
    });
  });
});

/** A SEQUENCE in a SEQUENCE in a …; `encode` would need the depth itself. */
function nested(depth: number): Buffer {
  let der: Buffer = Buffer.of(5, 0);
  for (let i = 0; i < depth; i++) {
    const length = der.length;
    const head =
      length < 0x80
        ? [0x30, length]
        : length < 0x100
          ? [0x30, 0x81, length]
          : [0x30, 0x82, length >> 8, length & 0xff];
    der = Buffer.concat([Buffer.from(head), der]);
  }
  return der;
}
