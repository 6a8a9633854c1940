import { encodeCertificate, NO_NAME, type CertificateContent } from '../../ca/certificate.ts';
import { openIssuer, readAuthority } from '../../ca/directory.ts';
import { fromPem, toPem } from '../../ca/pem.ts';
import { newSerial } from '../../ca/profile.ts';
import { generateSigner } from '../../ca/signer.ts';
import { KEY_USAGE, OID, readCertificate } from '../../ca/x509.ts';

const HOUR_MS = 3_600_000;

export interface Forged {
  /** Leaf and issuer. */
  readonly certPem: string;
  readonly keyPem: string;
}

/**
 * Signs what the CA itself never would, with the keys in its folder: a leaf that chains to the trusted root and is
 * wrong in just one way.
 */
export async function forgeWith(
  caFolder: string,
  change: Partial<CertificateContent>,
): Promise<Forged> {
  const authority = await readAuthority(caFolder);
  const issuer = await openIssuer(authority, undefined);
  const [issuerDer] = fromPem('CERTIFICATE', authority.issuer.pem, 'issuer.crt');
  const { signer, pem } = generateSigner();
  const content: CertificateContent = {
    serial: newSerial(),
    issuer: issuer.name,
    subject: NO_NAME,
    notBeforeMs: Date.now() - 60_000,
    notAfterMs: Date.now() + HOUR_MS,
    spki: signer.spki,
    uris: [`spiffe://${authority.trustDomain}/svc/web`],
    dnsNames: [`web.svc.${authority.trustDomain}`],
    basicConstraints: { ca: false },
    keyUsage: KEY_USAGE.digitalSignature,
    extendedKeyUsage: [OID.serverAuth, OID.clientAuth],
    issuerSpki: readCertificate(issuerDer!).spki,
    ...change,
  };
  const der = encodeCertificate(content, issuer.signer);
  return { certPem: toPem('CERTIFICATE', der) + authority.issuer.pem, keyPem: pem };
}
