import { hash } from 'node:crypto';
import { messageOf } from '#kit/errors.ts';
import { KEY_USAGE, OID, readCertificate, type CertificateFields } from './x509.ts';

/**
 * SPIFFE identities (SPIFFE-ID.md, X509-SVID.md) as gatemesh uses them:
 * `spiffe://<trustDomain>/svc/<service>`, `/node/<node>`, `/edge/<gateway>`.
 */
export type IdentityKind = 'svc' | 'node' | 'edge';

export interface Identity {
  readonly trustDomain: string;
  readonly kind: IdentityKind;
  readonly name: string;
}

export function formatIdentity({ trustDomain, kind, name }: Identity): string {
  return `spiffe://${trustDomain}/${kind}/${name}`;
}

const IDENTITY =
  /^spiffe:\/\/([a-z0-9._-]{1,255})\/(svc|node|edge)\/([a-z0-9](?:[-a-z0-9.]{0,61}[a-z0-9])?)$/;

/** Undefined for anything that is not exactly one of ours. */
export function parseIdentity(uri: string): Identity | undefined {
  const match = IDENTITY.exec(uri);
  if (match === null) return undefined;
  return { trustDomain: match[1]!, kind: match[2] as IdentityKind, name: match[3]! };
}

/** The server name a caller asks for on the mesh port, so that the destination's own certificate answers. */
export function serverName(service: string, trustDomain: string): string {
  return `${service}.svc.${trustDomain}`;
}

/** A certificate with its key, as a process holds it in memory and on disk (0600). */
export interface Svid {
  /** The SPIFFE id. */
  readonly identity: string;
  /** Leaf, then issuer: PEM. */
  readonly certPem: string;
  /** PKCS#8 PEM. */
  readonly keyPem: string;
  readonly serial: string;
  /** Unix ms. */
  readonly notBeforeMs: number;
  /** Unix ms. */
  readonly notAfterMs: number;
}

/** The roots that are trusted; there may be two while one follows the other. */
export interface TrustBundle {
  readonly trustDomain: string;
  /** PEM of each root. */
  readonly rootsPem: readonly string[];
}

/** All a process needs to prove who it is and to judge others. Replaced whole. */
export interface IdentityMaterial {
  /** By SPIFFE id. */
  readonly svids: ReadonlyMap<string, Svid>;
  readonly bundle: TrustBundle;
}

/** What a peer's certificate says about it, once the TLS library has verified its chain. */
export type SvidCheck =
  | { readonly ok: true; readonly identity: Identity; readonly notAfterMs: number }
  | { readonly ok: false; readonly why: string };

/** Peers of one gateway, with room for a few renewals of each. */
const REMEMBERED_SVIDS = 4096;
const remembered = new Map<string, SvidCheck>();

/**
 * The SPIFFE half of a peer's validation (X509-SVID.md section 5), on top of path validation by TLS: one URI SAN, a path
 * of ours in our own trust domain, no authority, key usage as it must be. Says nothing about time, for a connection
 * outlives its handshake: compare `notAfterMs` with the clock now and later.
 *
 * About 0.1 ms the first time, a hash and a lookup afterwards.
 *
 * @param der the leaf, as in `socket.getPeerX509Certificate().raw`
 */
export function checkSvid(der: Buffer, trustDomain: string): SvidCheck {
  const key = `${trustDomain} ${hash('sha256', der, 'base64')}`;
  const known = remembered.get(key);
  if (known !== undefined) return known;
  const check = judgeSvid(der, trustDomain);
  if (remembered.size >= REMEMBERED_SVIDS) remembered.delete(remembered.keys().next().value!);
  remembered.set(key, check);
  return check;
}

function judgeSvid(der: Buffer, trustDomain: string): SvidCheck {
  let fields: CertificateFields;
  try {
    fields = readCertificate(der);
  } catch (error) {
    return { ok: false, why: messageOf(error) };
  }
  const uris = fields.subjectAltName?.uris ?? [];
  const why = svidFault(fields, uris);
  if (why !== undefined) return { ok: false, why };
  const identity = parseIdentity(uris[0]!);
  if (identity === undefined) {
    return {
      ok: false,
      why: `wanted a SPIFFE id of a service, node or edge gateway, got "${uris[0]}"`,
    };
  }
  if (identity.trustDomain !== trustDomain) {
    return {
      ok: false,
      why: `wanted the trust domain "${trustDomain}", got "${identity.trustDomain}"`,
    };
  }
  return { ok: true, identity, notAfterMs: fields.notAfterMs };
}

/** The first rule of X509-SVID.md a leaf breaks by its extensions. */
function svidFault(fields: CertificateFields, uris: readonly string[]): string | undefined {
  const { basicConstraints, keyUsage, extendedKeyUsage, unknownCritical } = fields;
  if (uris.length !== 1) return `wanted exactly one URI name, got ${uris.length}`;
  if (basicConstraints?.ca === true) return 'an authority certificate cannot authenticate';
  if (keyUsage === undefined) return 'wanted a key usage extension, got none';
  if (!keyUsage.critical) return 'the key usage extension is not critical';
  if ((keyUsage.bits & KEY_USAGE.digitalSignature) === 0) {
    return 'the key usage has no digitalSignature';
  }
  if ((keyUsage.bits & (KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign)) !== 0) {
    return 'the key usage is that of an authority';
  }
  if (
    extendedKeyUsage !== undefined &&
    !(extendedKeyUsage.includes(OID.serverAuth) && extendedKeyUsage.includes(OID.clientAuth))
  ) {
    return 'the extended key usage has not both serverAuth and clientAuth';
  }
  if (unknownCritical.length > 0) return `an unknown critical extension ${unknownCritical[0]}`;
  return undefined;
}
