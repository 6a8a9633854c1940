import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { describe, it } from 'node:test';
import { checkSvid, type Svid } from '../../../ca/identity.ts';
import { fromPem } from '../../../ca/pem.ts';
import { KEY_USAGE, OID, readCertificate } from '../../../ca/x509.ts';
import { SOME_NAME, testPki } from '../../support/pki.ts';

const pki = testPki('mesh.test');

function leafOf(svid: Svid): Buffer {
  return fromPem('CERTIFICATE', svid.certPem, 'test')[0]!;
}

describe('checkSvid accepts', () => {
  for (const kind of ['svc', 'node', 'edge'] as const) {
    it(`a ${kind} certificate as the authority makes it`, () => {
      const svid = pki.svid(kind, 'web');
      assert.deepEqual(checkSvid(leafOf(svid), 'mesh.test'), {
        ok: true,
        identity: { trustDomain: 'mesh.test', kind, name: 'web' },
        notAfterMs: svid.notAfterMs,
      });
    });
  }

  it('one without extended key usage, as X509-SVID.md section 4.4 allows', () => {
    const svid = pki.forge('svc', 'web', { extendedKeyUsage: [] });
    assert.equal(checkSvid(leafOf(svid), 'mesh.test').ok, true);
  });

  it('one with a subject beside the SPIFFE id', () => {
    const svid = pki.forge('svc', 'web', { subject: SOME_NAME });
    assert.equal(checkSvid(leafOf(svid), 'mesh.test').ok, true);
  });

  it('the same certificate again, with the same answer', () => {
    const der = leafOf(pki.svid('svc', 'web'));
    assert.equal(checkSvid(der, 'mesh.test'), checkSvid(Buffer.from(der), 'mesh.test'));
  });
});

describe('checkSvid refuses', () => {
  const rows: readonly (readonly [name: string, svid: Svid, why: string])[] = [
    [
      'another trust domain',
      pki.evil.wrongTrustDomain('svc', 'web'),
      'wanted the trust domain "mesh.test", got "other.mesh.test"',
    ],
    ['two URI names', pki.evil.twoUris('svc', 'web'), 'wanted exactly one URI name, got 2'],
    [
      'a second URI name that is not SPIFFE',
      pki.forge('svc', 'web', { uris: ['spiffe://mesh.test/svc/web', 'https://example.test/'] }),
      'wanted exactly one URI name, got 2',
    ],
    ['no URI name', pki.forge('svc', 'web', { uris: [] }), 'wanted exactly one URI name, got 0'],
    ['an authority', pki.evil.caTrue('svc', 'web'), 'an authority certificate cannot authenticate'],
    [
      'keyCertSign',
      pki.forge('svc', 'web', { keyUsage: KEY_USAGE.digitalSignature | KEY_USAGE.keyCertSign }),
      'the key usage is that of an authority',
    ],
    [
      'cRLSign',
      pki.forge('svc', 'web', { keyUsage: KEY_USAGE.digitalSignature | KEY_USAGE.cRLSign }),
      'the key usage is that of an authority',
    ],
    [
      'a key usage without digitalSignature',
      pki.forge('svc', 'web', { keyUsage: 0x08 }),
      'the key usage has no digitalSignature',
    ],
    [
      'serverAuth alone',
      pki.forge('svc', 'web', { extendedKeyUsage: [OID.serverAuth] }),
      'the extended key usage has not both serverAuth and clientAuth',
    ],
    [
      'the trust domain itself',
      pki.forge('svc', 'web', { uris: ['spiffe://mesh.test'] }),
      'wanted a SPIFFE id of a service, node or edge gateway, got "spiffe://mesh.test"',
    ],
    [
      'the name of an authority server',
      pki.forge('svc', 'web', { uris: ['spiffe://mesh.test/ca'] }),
      'wanted a SPIFFE id of a service, node or edge gateway, got "spiffe://mesh.test/ca"',
    ],
    [
      'a percent-encoded path',
      pki.forge('svc', 'web', { uris: ['spiffe://mesh.test/svc/%77eb'] }),
      'wanted a SPIFFE id of a service, node or edge gateway, got "spiffe://mesh.test/svc/%77eb"',
    ],
    [
      'an upper-case scheme',
      pki.forge('svc', 'web', { uris: ['SPIFFE://mesh.test/svc/web'] }),
      'wanted a SPIFFE id of a service, node or edge gateway, got "SPIFFE://mesh.test/svc/web"',
    ],
    [
      'a line break hidden in a name (CVE-2021-44532)',
      pki.forge('svc', 'web', { dnsNames: ['a, URI:spiffe://mesh.test/svc/admin'] }),
      'subjectAltName: a name with characters no name has',
    ],
  ];
  for (const [name, svid, why] of rows) {
    it(name, () => {
      assert.deepEqual(checkSvid(leafOf(svid), 'mesh.test'), { ok: false, why });
    });
  }

  it('bytes that are no certificate', () => {
    assert.deepEqual(checkSvid(Buffer.from('hello'), 'mesh.test'), {
      ok: false,
      why: 'certificate: not one DER value',
    });
  });

  it('a certificate with a byte after it', () => {
    const der = Buffer.concat([leafOf(pki.svid('svc', 'web')), Buffer.of(0)]);
    assert.deepEqual(checkSvid(der, 'mesh.test'), {
      ok: false,
      why: 'certificate: not one DER value',
    });
  });

  it('a name beside the SPIFFE id that is none of the kinds there are', () => {
    const der = leafOf(pki.svid('svc', 'web'));
    const at = der.indexOf('web.svc.') - 2;
    assert.equal(der[at], 0x82);
    // IA5String, as the name would be without its tag: OpenSSL reads no name at all then.
    der[at] = 0x16;
    assert.equal(new X509Certificate(der).subjectAltName ?? '', '');
    const check = checkSvid(der, 'mesh.test');
    assert.deepEqual(check, { ok: false, why: 'subjectAltName: a name of no kind there is' });
  });

  it('a length in a longer form than DER allows', () => {
    const der = leafOf(pki.svid('svc', 'web'));
    // 30 82 hh ll -> 30 83 00 hh ll
    const ber = Buffer.concat([Buffer.of(0x30, 0x83, 0), der.subarray(2)]);
    assert.deepEqual(checkSvid(ber, 'mesh.test'), {
      ok: false,
      why: 'certificate: not in the one form DER allows',
    });
  });

  it('one changed bit, or reads the same identity from it', () => {
    const der = leafOf(pki.svid('svc', 'web'));
    const identity = { trustDomain: 'mesh.test', kind: 'svc', name: 'web' };
    const uriAt = der.indexOf('spiffe://');
    for (let at = 0; at < der.length; at++) {
      if (at >= uriAt && at < uriAt + 'spiffe://mesh.test/svc/web'.length) continue;
      const changed = Buffer.from(der);
      changed[at]! ^= 0x01;
      const check = checkSvid(changed, 'mesh.test');
      if (check.ok) assert.deepEqual(check.identity, identity, `byte ${at}`);
    }
  });
});

describe('readCertificate', () => {
  it('agrees with OpenSSL on what both can tell', () => {
    const svid = pki.svid('svc', 'web');
    const der = leafOf(svid);
    const fields = readCertificate(der);
    const openssl = new X509Certificate(der);
    assert.equal(fields.serial.toUpperCase(), openssl.serialNumber);
    assert.equal(fields.notBeforeMs, openssl.validFromDate.getTime());
    assert.equal(fields.notAfterMs, openssl.validToDate.getTime());
    assert.deepEqual(fields.spki, openssl.publicKey.export({ format: 'der', type: 'spki' }));
    assert.equal(openssl.subjectAltName, 'URI:spiffe://mesh.test/svc/web, DNS:web.svc.mesh.test');
  });
});
