import { constants } from 'node:crypto';
import tls from 'node:tls';
import type { IdentityMaterial, Svid } from '../../ca/identity.ts';

/** A certificate of ours, ready for handshakes. */
export interface OwnCertificate {
  readonly svid: Svid;
  readonly context: tls.SecureContext;
}

/**
 * The identities this worker can prove, as TLS contexts; replaced whole when the supervisor renewed
 * something. TLS 1.3 only, no tickets: a resumed session would skip the check of a certificate that
 * has expired since (research: Node resumes with an expired client certificate, `authorized` true).
 */
export class Identities {
  readonly trustDomain: string;
  readonly #certificates = new Map<string, OwnCertificate>();

  constructor(material: IdentityMaterial, previous: Identities | undefined) {
    this.trustDomain = material.bundle.trustDomain;
    const ca = [...material.bundle.rootsPem];
    const sameRoots = previous !== undefined && previous.roots === ca.join('\n');
    this.roots = ca.join('\n');
    for (const [identity, svid] of material.svids) {
      const before = previous?.get(identity);
      const isSame = sameRoots && before?.svid.serial === svid.serial;
      const context = isSame
        ? before.context
        : tls.createSecureContext({ ...TLS_1_3, ca, cert: svid.certPem, key: svid.keyPem });
      this.#certificates.set(identity, { svid, context });
    }
  }

  /** PEM of all roots; what a peer's chain must end in. */
  readonly roots: string;

  get(identity: string): OwnCertificate | undefined {
    return this.#certificates.get(identity);
  }
}

export const TLS_1_3 = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;
