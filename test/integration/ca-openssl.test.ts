import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { checkSvid } from '../../ca/identity.ts';
import { toPem } from '../../ca/pem.ts';
import { rootCertificate } from '../../ca/profile.ts';
import { generateSigner } from '../../ca/signer.ts';
import { testPki } from '../support/pki.ts';

const pki = testPki('mesh.test');
let dir: string;

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'gatemesh-ca-openssl-'));
  writeFileSync(join(dir, 'root.pem'), pki.rootPem);
  writeFileSync(join(dir, 'issuer.pem'), pki.issuerPem);
});
after(() => rmSync(dir, { recursive: true, force: true }));

function file(name: string, content: string): string {
  writeFileSync(join(dir, name), content);
  return join(dir, name);
}

function verify(certPem: string) {
  const leaf = file('leaf.pem', certPem);
  const args = ['verify', '-x509_strict', '-purpose', 'sslserver'];
  const chain = ['-CAfile', join(dir, 'root.pem'), '-untrusted', join(dir, 'issuer.pem'), leaf];
  return spawnSync('openssl', [...args, ...chain], { encoding: 'utf8' });
}

/** `openssl x509 -text` without the parts that are random. */
function text(pem: string): string {
  return execFileSync(
    'openssl',
    ['x509', '-noout', '-text', '-certopt', 'no_sigdump,no_pubkey,no_serial,no_validity'],
    { input: pem, encoding: 'utf8' },
  )
    .replace(/(?:[0-9A-F]{2}:){19}[0-9A-F]{2}/g, '<id>')
    .replace(/ +$/gm, '');
}

describe('openssl', () => {
  for (const kind of ['svc', 'node', 'edge'] as const) {
    it(`verifies a ${kind} certificate strictly`, () => {
      const { status, stdout, stderr } = verify(pki.svid(kind, 'web').certPem);
      assert.equal(status, 0, stdout + stderr);
    });
  }

  it('refuses an expired one and one under another root', () => {
    assert.match(verify(pki.evil.expired('svc', 'web').certPem).stderr, /certificate has expired/);
    assert.match(
      verify(pki.evil.otherRoot('svc', 'web').certPem).stderr,
      /signature failure|unable/,
    );
  });

  it('sees in a leaf exactly what X509-SVID.md asks for', () => {
    assert.equal(
      text(pki.svid('svc', 'web').certPem),
      `Certificate:
    Data:
        Version: 3 (0x2)
        Signature Algorithm: ecdsa-with-SHA256
        Issuer: O = mesh.test, CN = gatemesh issuer test
        Subject:
        X509v3 extensions:
            X509v3 Basic Constraints: critical
                CA:FALSE
            X509v3 Key Usage: critical
                Digital Signature
            X509v3 Subject Key Identifier:
                <id>
            X509v3 Authority Key Identifier:
                <id>
            X509v3 Extended Key Usage:
                TLS Web Server Authentication, TLS Web Client Authentication
            X509v3 Subject Alternative Name: critical
                URI:spiffe://mesh.test/svc/web, DNS:web.svc.mesh.test
`,
    );
  });

  it('sees an issuer that may sign leaves only', () => {
    assert.equal(
      text(pki.issuerPem),
      `Certificate:
    Data:
        Version: 3 (0x2)
        Signature Algorithm: ecdsa-with-SHA256
        Issuer: O = mesh.test, CN = gatemesh root test
        Subject: O = mesh.test, CN = gatemesh issuer test
        X509v3 extensions:
            X509v3 Basic Constraints: critical
                CA:TRUE, pathlen:0
            X509v3 Key Usage: critical
                Certificate Sign, CRL Sign
            X509v3 Subject Key Identifier:
                <id>
            X509v3 Authority Key Identifier:
                <id>
            X509v3 Subject Alternative Name:
                URI:spiffe://mesh.test
`,
    );
  });

  it('sees a root with the trust domain and nothing to authenticate with', () => {
    assert.equal(
      text(pki.rootPem),
      `Certificate:
    Data:
        Version: 3 (0x2)
        Signature Algorithm: ecdsa-with-SHA256
        Issuer: O = mesh.test, CN = gatemesh root test
        Subject: O = mesh.test, CN = gatemesh root test
        X509v3 extensions:
            X509v3 Basic Constraints: critical
                CA:TRUE
            X509v3 Key Usage: critical
                Certificate Sign, CRL Sign
            X509v3 Subject Key Identifier:
                <id>
            X509v3 Subject Alternative Name:
                URI:spiffe://mesh.test
`,
    );
  });

  it('reads UTCTime through 2049 and GeneralizedTime from 2050 (RFC 5280 section 4.1.2.5)', () => {
    const { signer } = generateSigner();
    const der = rootCertificate('mesh.test', 'test', signer, Date.UTC(2045, 5, 1));
    const lines = execFileSync('openssl', ['asn1parse'], {
      input: toPem('CERTIFICATE', der),
      encoding: 'utf8',
    }).match(/(UTCTIME|GENERALIZEDTIME) +:\S+/g);
    assert.deepEqual(lines, [
      'UTCTIME           :450531235900Z',
      'GENERALIZEDTIME   :20550530000000Z',
    ]);
  });

  it('sees a serial of 128 bits, positive', () => {
    const [, serial] = /serial=([0-9A-F]+)/.exec(
      execFileSync('openssl', ['x509', '-noout', '-serial'], {
        input: pki.svid('svc', 'web').certPem,
        encoding: 'utf8',
      }),
    )!;
    assert.match(serial!, /^[4-7][0-9A-F]{31}$/);
  });
});

describe('a TLS handshake between two leaves', () => {
  it('is authorised on both sides and shows each the other', async (t) => {
    const callee = pki.svid('svc', 'orders');
    const caller = pki.svid('svc', 'web');
    const common = { ca: pki.rootPem, minVersion: 'TLSv1.3' } as const;
    const server = createServer({
      ...common,
      cert: callee.certPem,
      key: callee.keyPem,
      requestCert: true,
      rejectUnauthorized: true,
    });
    t.after(() => server.close());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'secureConnection') as Promise<[TLSSocket]>;
    const { port } = server.address() as AddressInfo;
    const socket = connect({
      ...common,
      host: '127.0.0.1',
      port,
      servername: 'orders.svc.mesh.test',
      cert: caller.certPem,
      key: caller.keyPem,
    });
    t.after(() => socket.destroy());
    await once(socket, 'secureConnect');
    const [peer] = await accepted;
    t.after(() => peer.destroy());
    assert.equal(socket.authorized, true);
    assert.equal(peer.authorized, true);
    const seen = [socket, peer].map((side) => {
      const check = checkSvid(side.getPeerX509Certificate()!.raw, 'mesh.test');
      return check.ok ? check.identity.name : check.why;
    });
    assert.deepEqual(seen, ['orders', 'web']);
  });
});
