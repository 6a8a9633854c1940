import { X509Certificate } from 'node:crypto';
import { encodeCertificate, distinguishedName, NO_NAME } from '../../ca/certificate.ts';
import type { CertificateContent } from '../../ca/certificate.ts';
import type { IdentityKind, Svid, TrustBundle } from '../../ca/identity.ts';
import { toPem } from '../../ca/pem.ts';
import {
  issuerCertificate,
  leafNames,
  newSerial,
  rootCertificate,
  type Issuer,
} from '../../ca/profile.ts';
import { generateSigner } from '../../ca/signer.ts';
import { KEY_USAGE, OID, readCertificate } from '../../ca/x509.ts';

const HOUR_MS = 3_600_000;

export interface SvidTimes {
  /** Default: a minute ago. */
  readonly notBeforeMs?: number;
  /** Default: in an hour. */
  readonly notAfterMs?: number;
}

/** A small authority in memory for tests, with the same root and issuer as the real one and leaves on demand. */
export interface TestPki {
  readonly trustDomain: string;
  readonly rootPem: string;
  readonly issuerPem: string;
  readonly bundle: TrustBundle;
  svid(kind: IdentityKind, name: string, times?: SvidTimes): Svid;
  /** The leaf `svid` would make, with some of its content replaced: for what must be refused. */
  forge(
    kind: IdentityKind,
    name: string,
    change: Partial<CertificateContent>,
    times?: SvidTimes,
  ): Svid;
  readonly evil: EvilSvids;
}

/** Certificates a peer must not get in with. All but `otherRoot` chain to the trusted root. */
export interface EvilSvids {
  wrongTrustDomain(kind: IdentityKind, name: string): Svid;
  twoUris(kind: IdentityKind, name: string): Svid;
  /** A leaf that calls itself an authority. */
  caTrue(kind: IdentityKind, name: string): Svid;
  /** Ended a minute ago. */
  expired(kind: IdentityKind, name: string): Svid;
  /** The right name under a root nobody trusts. */
  otherRoot(kind: IdentityKind, name: string): Svid;
}

export function testPki(trustDomain = 'mesh.internal'): TestPki {
  const nowMs = Date.now();
  const rootKey = generateSigner().signer;
  const rootDer = rootCertificate(trustDomain, 'test', rootKey, nowMs);
  const root = issuerOf(rootDer, rootKey);
  const issuerKey = generateSigner().signer;
  const issuerDer = issuerCertificate(trustDomain, 'test', issuerKey.spki, root, nowMs);
  const issuer = issuerOf(issuerDer, issuerKey);
  const rootPem = toPem('CERTIFICATE', rootDer);
  const issuerPem = toPem('CERTIFICATE', issuerDer);

  const forge: TestPki['forge'] = (kind, name, change, times = {}) => {
    const { signer, pem } = generateSigner();
    const { uri, dnsNames } = leafNames({ trustDomain, kind, name });
    const content: CertificateContent = {
      serial: newSerial(),
      issuer: issuer.name,
      subject: NO_NAME,
      notBeforeMs: times.notBeforeMs ?? Date.now() - 60_000,
      notAfterMs: times.notAfterMs ?? Date.now() + HOUR_MS,
      spki: signer.spki,
      uris: [uri],
      dnsNames,
      basicConstraints: { ca: false },
      keyUsage: KEY_USAGE.digitalSignature,
      extendedKeyUsage: [OID.serverAuth, OID.clientAuth],
      issuerSpki: issuerKey.spki,
      ...change,
    };
    const der = encodeCertificate(content, issuerKey);
    // Read by OpenSSL: what is forged on purpose need not pass our own reader.
    const { serialNumber, validFromDate, validToDate } = new X509Certificate(der);
    return {
      identity: content.uris[0] ?? '',
      certPem: toPem('CERTIFICATE', der) + issuerPem,
      keyPem: pem,
      serial: serialNumber.toLowerCase(),
      notBeforeMs: validFromDate.getTime(),
      notAfterMs: validToDate.getTime(),
    };
  };

  return {
    trustDomain,
    rootPem,
    issuerPem,
    bundle: { trustDomain, rootsPem: [rootPem] },
    svid: (kind, name, times) => forge(kind, name, {}, times),
    forge,
    evil: {
      wrongTrustDomain: (kind, name) =>
        forge(kind, name, { uris: [`spiffe://other.${trustDomain}/${kind}/${name}`] }),
      twoUris: (kind, name) =>
        forge(kind, name, {
          uris: [`spiffe://${trustDomain}/${kind}/${name}`, `spiffe://${trustDomain}/svc/second`],
        }),
      caTrue: (kind, name) => forge(kind, name, { basicConstraints: { ca: true } }),
      expired: (kind, name) =>
        forge(
          kind,
          name,
          {},
          { notBeforeMs: Date.now() - HOUR_MS, notAfterMs: Date.now() - 60_000 },
        ),
      otherRoot: (kind, name) => testPki(trustDomain).svid(kind, name),
    },
  };
}

function issuerOf(der: Buffer, signer: Issuer['signer']): Issuer {
  const { subject, notAfterMs } = readCertificate(der);
  return { name: subject, signer, notAfterMs };
}

/** A name for certificates made by hand in tests. */
export const SOME_NAME = distinguishedName('example', 'somebody');
