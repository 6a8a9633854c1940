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
