import { MeshError } from '#kit/errors.ts';
import { checkSvid, formatIdentity, type Svid } from './identity.ts';
import { fromPem } from './pem.ts';
import { openSigner } from './signer.ts';
import { readCertificate } from './x509.ts';

/** The trust domain a root certificate (PEM) is the authority of; undefined for a root of another make, or none at all. */
export function rootTrustDomain(rootPem: string): string | undefined {
  try {
    const [root] = fromPem('CERTIFICATE', rootPem, 'root');
    const uri = readCertificate(root!).subjectAltName?.uris[0];
    return /^spiffe:\/\/([a-z0-9._-]+)$/.exec(uri ?? '')?.[1];
  } catch {
    return undefined;
  }
}

/**
 * A certificate chain and its key as one thing: the leaf follows the SVID rules, and the key is the leaf's.
 *
 * @param where names it in messages: a file, or the server it came from
 * @throws MeshError `svid_invalid`, `no_pem`, `ca_key_unreadable`
 */
export function readSvid(
  { certPem, keyPem }: { readonly certPem: string; readonly keyPem: string },
  trustDomain: string,
  where: string,
): Svid {
  const leaf = fromPem('CERTIFICATE', certPem, where)[0]!;
  const check = checkSvid(leaf, trustDomain);
  if (!check.ok) throw new MeshError('svid_invalid', `${where}: ${check.why}`);
  const { serial, notBeforeMs, notAfterMs, spki } = readCertificate(leaf);
  if (!openSigner(keyPem, undefined, where).spki.equals(spki)) {
    throw new MeshError('svid_invalid', `${where}: the key is not the one in the certificate`);
  }
  return {
    identity: formatIdentity(check.identity),
    certPem,
    keyPem,
    serial,
    notBeforeMs,
    notAfterMs,
  };
}
