import { randomBytes } from 'node:crypto';
import { distinguishedName, encodeCertificate, NO_NAME } from './certificate.ts';
import { formatIdentity, type Identity } from './identity.ts';
import { BACKDATE_MS } from './policy.ts';
import type { Signer } from './signer.ts';
import { KEY_USAGE, OID } from './x509.ts';

/** The kinds of certificate there are, and what stands in each: SPIFFE X509-SVID.md sections 2 to 4 on RFC 5280. */

const DAY_MS = 86_400_000;
export const ROOT_LIFE_MS = 3650 * DAY_MS;
export const ISSUER_LIFE_MS = 365 * DAY_MS;

/** An authority that signs: its certificate and the key to it. */
export interface Issuer {
  /** Its subject, DER: copied octet by octet into what it signs. */
  readonly name: Buffer;
  readonly signer: Signer;
  readonly notAfterMs: number;
}

/** 128 random bits. The top bit is clear, so it is positive in 16 octets; the next is set, so it always has 16. */
export function newSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial;
}

/** Certificates carry whole seconds. */
function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}

/** Of an authority certificate: no path in its SPIFFE id, never used to authenticate (X509-SVID.md section 4.2). */
const AUTHORITY = {
  keyUsage: KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign,
  extendedKeyUsage: [],
  dnsNames: [],
} as const;

/** DER of a self-signed root; `id` tells it apart from the one that follows it. */
export function rootCertificate(
  trustDomain: string,
  id: string,
  signer: Signer,
  nowMs: number,
): Buffer {
  const name = distinguishedName(trustDomain, `gatemesh root ${id}`);
  return encodeCertificate(
    {
      ...AUTHORITY,
      serial: newSerial(),
      issuer: name,
      subject: name,
      notBeforeMs: wholeSeconds(nowMs) - BACKDATE_MS,
      notAfterMs: wholeSeconds(nowMs) + ROOT_LIFE_MS,
      spki: signer.spki,
      uris: [`spiffe://${trustDomain}`],
      basicConstraints: { ca: true },
      issuerSpki: undefined,
    },
    signer,
  );
}

/** DER of an issuer under `root`: it signs leaves and nothing else. Never outlives the root. */
export function issuerCertificate(
  trustDomain: string,
  id: string,
  spki: Buffer,
  root: Issuer,
  nowMs: number,
): Buffer {
  return encodeCertificate(
    {
      ...AUTHORITY,
      serial: newSerial(),
      issuer: root.name,
      subject: distinguishedName(trustDomain, `gatemesh issuer ${id}`),
      notBeforeMs: wholeSeconds(nowMs) - BACKDATE_MS,
      notAfterMs: Math.min(wholeSeconds(nowMs) + ISSUER_LIFE_MS, root.notAfterMs),
      spki,
      uris: [`spiffe://${trustDomain}`],
      basicConstraints: { ca: true, pathLength: 0 },
      issuerSpki: root.signer.spki,
    },
    root.signer,
  );
}

/** What a leaf is for: a member of the mesh, or the authority's own server. */
export interface LeafNames {
  readonly uri: string;
  readonly dnsNames: readonly string[];
}

/** `svc/web` is `web.svc.mesh.internal` to programs that check host names and know no SPIFFE. */
export function leafNames(identity: Identity): LeafNames {
  const { kind, name, trustDomain } = identity;
  return { uri: formatIdentity(identity), dnsNames: [`${name}.${kind}.${trustDomain}`] };
}

/**
 * The names of an authority's own server. Not an identity of the mesh (`parseIdentity` refuses it), so neither side can
 * pass for the other: a service that could answer as the authority would be handed enrolment tokens.
 */
export function authorityServerNames(trustDomain: string): LeafNames {
  return { uri: `spiffe://${trustDomain}/ca`, dnsNames: [`ca.${trustDomain}`, 'localhost'] };
}

export interface Leaf {
  readonly der: Buffer;
  /** Lower-case hex. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A leaf for `spki`, valid for `ttlMs` from now or until its issuer ends, whichever is first. */
export function leafCertificate(
  { uri, dnsNames }: LeafNames,
  spki: Buffer,
  issuer: Issuer,
  nowMs: number,
  ttlMs: number,
): Leaf {
  const serial = newSerial();
  const notBeforeMs = wholeSeconds(nowMs) - BACKDATE_MS;
  const notAfterMs = Math.min(wholeSeconds(nowMs + ttlMs), issuer.notAfterMs);
  const der = encodeCertificate(
    {
      serial,
      issuer: issuer.name,
      // No name but the SPIFFE id: software that takes a user from the common name (etcd does) finds none.
      subject: NO_NAME,
      notBeforeMs,
      notAfterMs,
      spki,
      uris: [uri],
      dnsNames,
      basicConstraints: { ca: false },
      keyUsage: KEY_USAGE.digitalSignature,
      extendedKeyUsage: [OID.serverAuth, OID.clientAuth],
      issuerSpki: issuer.signer.spki,
    },
    issuer.signer,
  );
  return { der, serial: serial.toString('hex'), notBeforeMs, notAfterMs };
}
