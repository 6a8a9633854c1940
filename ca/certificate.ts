import { createHash } from 'node:crypto';
import {
  bitString,
  bitStringOf,
  decode,
  encode,
  integer,
  octetString,
  oid,
  partsOf,
  sequence,
  set,
  TAG,
  tagged,
  taggedBytes,
  time,
  utf8String,
  yes,
  type Der,
} from './der.ts';
import type { Signer } from './signer.ts';
import { OID } from './x509.ts';

/** Everything a certificate says; `profile.ts` fills it in, this file writes it down (RFC 5280 section 4.1). */
export interface CertificateContent {
  /** Positive, at most 20 octets. */
  readonly serial: Buffer;
  /** Distinguished names, DER; a leaf's subject is NO_NAME. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength?: number };
  /** Bits of KEY_USAGE. */
  readonly keyUsage: number;
  /** Object identifiers; empty: no such extension. */
  readonly extendedKeyUsage: readonly string[];
  /** Key of the issuer; absent on a root. */
  readonly issuerSpki: Buffer | undefined;
}

/** Attributes of a name may have 64 characters (RFC 5280 appendix A.1, ub-common-name). */
const MAX_NAME_LENGTH = 64;

/** `O=<organization>, CN=<commonName>`, DER. */
export function distinguishedName(organization: string, commonName: string): Buffer {
  const attribute = (id: string, text: string): Der =>
    set(sequence(oid(id), utf8String(text.slice(0, MAX_NAME_LENGTH))));
  return encode(
    sequence(attribute(OID.organization, organization), attribute(OID.commonName, commonName)),
  );
}

/** The empty distinguished name. */
export const NO_NAME = encode(sequence());

const ECDSA_WITH_SHA256 = (): Der => sequence(oid(OID.ecdsaWithSha256));

/** Signs `content` and returns the certificate's DER. */
export function encodeCertificate(content: CertificateContent, signer: Signer): Buffer {
  const tbs = sequence(
    tagged(0, integer(Buffer.of(2))),
    integer(content.serial),
    ECDSA_WITH_SHA256(),
    decodeName(content.issuer),
    sequence(time(content.notBeforeMs), time(content.notAfterMs)),
    decodeName(content.subject),
    decodeSpki(content.spki),
    tagged(3, sequence(...extensions(content))),
  );
  return signed(tbs, signer);
}

/**
 * A PKCS#10 request (RFC 2986) for the signer's own key. Subject and attributes are empty: the
 * authority takes nothing but the key from it.
 */
export function encodeRequest(signer: Signer): Buffer {
  const info = sequence(integer(Buffer.of(0)), sequence(), decodeSpki(signer.spki), tagged(0));
  return signed(info, signer);
}

function signed(body: Der, signer: Signer): Buffer {
  return encode(sequence(body, ECDSA_WITH_SHA256(), bitString(signer.sign(encode(body)))));
}

function decodeSpki(spki: Buffer): Der {
  return decode(spki, 'public key', 1024);
}

/** SHA-256 of the key's bits, cut to 160 bits (RFC 7093 section 2, method 1). */
export function keyIdentifier(spki: Buffer): Buffer {
  const parts = partsOf(decodeSpki(spki), TAG.sequence, 'public key');
  const { bytes } = bitStringOf(parts[1], 'public key');
  return createHash('sha256').update(bytes).digest().subarray(0, 20);
}

function decodeName(name: Buffer): Der {
  return decode(name, 'name', 1024);
}

function extensions(content: CertificateContent): Der[] {
  const { basicConstraints, uris, dnsNames } = content;
  const { ca, pathLength } = basicConstraints;
  const list = [
    extension(
      OID.basicConstraints,
      true,
      sequence(
        ...(ca ? [yes()] : []),
        ...(pathLength === undefined ? [] : [integer(Buffer.of(pathLength))]),
      ),
    ),
    extension(OID.keyUsage, true, keyUsageBits(content.keyUsage)),
    extension(OID.subjectKeyIdentifier, false, octetString(keyIdentifier(content.spki))),
  ];
  if (content.issuerSpki !== undefined) {
    const identifier = taggedBytes(0, keyIdentifier(content.issuerSpki));
    list.push(extension(OID.authorityKeyIdentifier, false, sequence(identifier)));
  }
  if (content.extendedKeyUsage.length > 0) {
    list.push(
      extension(OID.extendedKeyUsage, false, sequence(...content.extendedKeyUsage.map(oid))),
    );
  }
  const names = [
    ...uris.map((uri) => taggedBytes(6, Buffer.from(uri, 'latin1'))),
    ...dnsNames.map((name) => taggedBytes(2, Buffer.from(name, 'latin1'))),
  ];
  if (names.length > 0) {
    // RFC 5280 section 4.2.1.6: critical when it is the only name there is.
    list.push(extension(OID.subjectAltName, content.subject.equals(NO_NAME), sequence(...names)));
  }
  return list;
}

/** A named bit list: DER drops the zero bits at its end (X.690 section 11.2.2). */
function keyUsageBits(bits: number): Der {
  const unusedBits = 31 - Math.clz32(bits & -bits);
  return bitString(Buffer.of(bits), unusedBits);
}

function extension(id: string, critical: boolean, value: Der): Der {
  return sequence(oid(id), ...(critical ? [yes()] : []), octetString(encode(value)));
}
