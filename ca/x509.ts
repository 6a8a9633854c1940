import type { KeyObject } from 'node:crypto';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { MeshError } from '#kit/errors.ts';
import {
  bitStringOf,
  bytesOf,
  decode,
  encode,
  expectTrue,
  hasTag,
  integerOf,
  oidOf,
  partsOf,
  TAG,
  timeOf,
  type Der,
} from './der.ts';

/** Object identifiers of RFC 5280, RFC 5480 and RFC 5758 that are written or read here. */
export const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ecdsaWithSha384: '1.2.840.10045.4.3.3',
  ecdsaWithSha512: '1.2.840.10045.4.3.4',
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/** Bits of KeyUsage (RFC 5280 section 4.2.1.3) as they lie in the first octet. */
export const KEY_USAGE = { digitalSignature: 0x80, keyCertSign: 0x04, cRLSign: 0x02 } as const;

/** Ours have about 800 bytes; a foreign one with many names stays well under this. */
const MAX_CERTIFICATE_BYTES = 16 * 1024;
/** A request with a P-384 key has about 350 bytes. */
export const MAX_CSR_BYTES = 8 * 1024;

/** What a certificate says, read strictly; nothing in it is verified yet. */
export interface CertificateFields {
  /** Lower-case hex, without leading zero octets. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Distinguished name, DER. */
  readonly subject: Buffer;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer;
  readonly subjectAltName: SubjectAltName | undefined;
  readonly basicConstraints: BasicConstraints | undefined;
  /** First octet of the bits, see KEY_USAGE. */
  readonly keyUsage: { readonly critical: boolean; readonly bits: number } | undefined;
  /** Object identifiers. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly subjectKeyId: Buffer | undefined;
  readonly authorityKeyId: Buffer | undefined;
  /** Object identifiers of critical extensions that are not understood here. */
  readonly unknownCritical: readonly string[];
}

export interface SubjectAltName {
  readonly critical: boolean;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
}

export interface BasicConstraints {
  readonly critical: boolean;
  readonly ca: boolean;
  readonly pathLength: number | undefined;
}

/**
 * Reads an X.509 v3 certificate (RFC 5280 section 4.1) from DER. Node's X509Certificate shows neither
 * key usage, nor criticality, nor path length, and its subjectAltName text can be spoofed
 * (CVE-2021-44532); so SVID rules are decided on what this returns.
 *
 * @throws MeshError `malformed_der`
 */
export function readCertificate(der: Buffer): CertificateFields {
  const what = 'certificate';
  const certificate = partsOf(decode(der, what, MAX_CERTIFICATE_BYTES), TAG.sequence, what);
  const tbs = partsOf(certificate[0], TAG.sequence, what);
  if (certificate.length !== 3 || tbs.length !== 8) {
    throw new MeshError(
      'malformed_der',
      'certificate: not version 3 with extensions and nothing else',
    );
  }
  const [version, serial, , , validity, subject, spki, extensions] = tbs;
  const [versionNumber] = partsOf(version, TAG.context(0), 'certificate version');
  if (integerOf(versionNumber, 'certificate version').readUInt8() !== 2) {
    throw new MeshError(
      'malformed_der',
      'certificate: not version 3 with extensions and nothing else',
    );
  }
  const [notBefore, notAfter] = partsOf(validity, TAG.sequence, 'certificate validity');
  return {
    serial: integerOf(serial, 'certificate serial').toString('hex'),
    notBeforeMs: timeOf(notBefore, 'certificate notBefore'),
    notAfterMs: timeOf(notAfter, 'certificate notAfter'),
    subject: encode(subject!),
    spki: encode(spki!),
    ...readExtensions(extensions),
  };
}

type ExtensionFields = Omit<
  CertificateFields,
  'serial' | 'notBeforeMs' | 'notAfterMs' | 'subject' | 'spki'
>;

function readExtensions(wrapped: Der | undefined): ExtensionFields {
  const what = 'certificate extensions';
  const list = partsOf(partsOf(wrapped, TAG.context(3), what)[0], TAG.sequence, what);
  const byOid = new Map<string, { readonly critical: boolean; readonly value: Der }>();
  for (const extension of list) {
    const parts = partsOf(extension, TAG.sequence, what);
    const id = oidOf(parts[0], what);
    const critical = parts.length === 3 && expectTrue(parts[1], what);
    const content = bytesOf(parts.at(-1), TAG.octetString, what);
    if (byOid.has(id)) throw new MeshError('malformed_der', `${what}: ${id} occurs twice`);
    byOid.set(id, { critical, value: decode(content, `extension ${id}`, MAX_CERTIFICATE_BYTES) });
  }
  const take = <T>(id: string, read: (value: Der, critical: boolean) => T): T | undefined => {
    const found = byOid.get(id);
    byOid.delete(id);
    return found === undefined ? undefined : read(found.value, found.critical);
  };
  return {
    subjectAltName: take(OID.subjectAltName, readSubjectAltName),
    basicConstraints: take(OID.basicConstraints, readBasicConstraints),
    keyUsage: take(OID.keyUsage, (value, critical) => ({
      critical,
      bits: bitStringOf(value, 'keyUsage').bytes[0] ?? 0,
    })),
    extendedKeyUsage: take(OID.extendedKeyUsage, (value) =>
      partsOf(value, TAG.sequence, 'extendedKeyUsage').map((id) => oidOf(id, 'extendedKeyUsage')),
    ),
    subjectKeyId: take(OID.subjectKeyIdentifier, (value) =>
      bytesOf(value, TAG.octetString, 'subjectKeyIdentifier'),
    ),
    authorityKeyId: take(OID.authorityKeyIdentifier, (value) => {
      const parts = partsOf(value, TAG.sequence, 'authorityKeyIdentifier');
      return hasTag(parts[0], TAG.context(0))
        ? bytesOf(parts[0], TAG.context(0), 'authorityKeyIdentifier')
        : undefined;
    }),
    unknownCritical: Array.from(byOid)
      .filter(([, { critical }]) => critical)
      .map(([id]) => id),
  };
}

/** GeneralName: [2] dNSName and [6] uniformResourceIdentifier are IA5String, told apart by tag alone. */
function readSubjectAltName(value: Der, critical: boolean): SubjectAltName {
  const names = partsOf(value, TAG.sequence, 'subjectAltName');
  // OpenSSL reads none of the names when one of them is something else.
  if (!names.every(isGeneralName)) {
    throw new MeshError('malformed_der', 'subjectAltName: a name of no kind there is');
  }
  const texts = (tag: number): string[] =>
    names
      .filter((name) => hasTag(name, tag))
      .map((name) => {
        const bytes = bytesOf(name, tag, 'subjectAltName');
        if (bytes.some((byte) => byte < 0x21 || byte > 0x7e)) {
          throw new MeshError(
            'malformed_der',
            'subjectAltName: a name with characters no name has',
          );
        }
        return bytes.toString('latin1');
      });
  return { critical, uris: texts(TAG.context(6)), dnsNames: texts(TAG.context(2)) };
}

/** RFC 5280 section 4.2.1.6: [0] to [8]. */
function isGeneralName(name: Der): boolean {
  return Array.from({ length: 9 }, (_, number) => number).some((number) =>
    hasTag(name, TAG.context(number)),
  );
}

function readBasicConstraints(value: Der, critical: boolean): BasicConstraints {
  const what = 'basicConstraints';
  const parts = partsOf(value, TAG.sequence, what);
  const ca = parts.length > 0 && expectTrue(parts[0], what);
  if (parts.length > 2) throw new MeshError('malformed_der', `${what}: wrong structure`);
  const pathLength =
    parts[1] === undefined ? undefined : Number(`0x${integerOf(parts[1], what).toString('hex')}`);
  return { critical, ca, pathLength };
}

/** A PKCS#10 request (RFC 2986), of which only the public key is of interest. */
export interface RequestFields {
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer;
  /** CertificationRequestInfo, DER: what the signature is over. */
  readonly signed: Buffer;
  readonly signatureAlgorithm: string;
  readonly signature: Buffer;
}

/** @throws MeshError `malformed_der` */
export function readRequest(der: Buffer): RequestFields {
  const what = 'certificate request';
  const request = partsOf(decode(der, what, MAX_CSR_BYTES), TAG.sequence, what);
  const info = partsOf(request[0], TAG.sequence, what);
  if (request.length !== 3 || info.length !== 4) {
    throw new MeshError('malformed_der', `${what}: wrong structure`);
  }
  const [version, subject, spki, attributes] = info;
  if (!integerOf(version, what).equals(Buffer.of(0))) {
    throw new MeshError('malformed_der', `${what}: not version 0`);
  }
  partsOf(subject, TAG.sequence, what);
  partsOf(attributes, TAG.context(0), what);
  const algorithm = partsOf(request[1], TAG.sequence, what);
  const signature = bitStringOf(request[2], what);
  return {
    spki: encode(spki!),
    signed: encode(request[0]!),
    signatureAlgorithm: oidOf(algorithm[0], what),
    signature: signature.bytes,
  };
}

const HASH_OF: Readonly<Record<string, string>> = {
  [OID.ecdsaWithSha256]: 'sha256',
  [OID.ecdsaWithSha384]: 'sha384',
  [OID.ecdsaWithSha512]: 'sha512',
};

/** True when `signature` over `signed` was made by the private half of `publicKey`. OpenSSL decides. */
export function verifyEcdsa(
  { signed, signatureAlgorithm, signature }: Omit<RequestFields, 'spki'>,
  publicKey: KeyObject,
): boolean {
  const hash = HASH_OF[signatureAlgorithm];
  return hash !== undefined && verify(hash, signed, publicKey, signature);
}

/** SubjectPublicKeyInfo up to the coordinates: named curve, uncompressed point (RFC 5480). */
const P256_HEAD = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex');
const P384_HEAD = Buffer.from('3076301006072a8648ce3d020106052b8104002203620004', 'hex');

/**
 * The P-256 or P-384 key of a SubjectPublicKeyInfo; undefined for any other kind of key, for a point off the
 * curve, and for a second spelling (compressed point, explicit curve) of a key: one key has one hash.
 */
export function readPublicKey(spki: Buffer): KeyObject | undefined {
  const allowed =
    (spki.length === P256_HEAD.length + 64 &&
      spki.subarray(0, P256_HEAD.length).equals(P256_HEAD)) ||
    (spki.length === P384_HEAD.length + 96 && spki.subarray(0, P384_HEAD.length).equals(P384_HEAD));
  if (!allowed) return undefined;
  try {
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch {
    // Right shape, but not a point of the curve.
    return undefined;
  }
}

/** SHA-256 of a SubjectPublicKeyInfo, hex: the name of a key in ledgers and checks. */
export function keyHash(spki: Buffer): string {
  return createHash('sha256').update(spki).digest('hex');
}

/** `sha256:<hex>` of a certificate's DER: how a root is pinned. */
export function fingerprint(der: Buffer): string {
  return `sha256:${createHash('sha256').update(der).digest('hex')}`;
}
