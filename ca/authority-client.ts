import { MeshError } from '#kit/errors.ts';
import type { IssuedBatch, WantedCertificate } from './authority.ts';
import { encodeRequest } from './certificate.ts';
import { formatIdentity, type Identity, type Svid, type TrustBundle } from './identity.ts';
import { toPem } from './pem.ts';
import { generateSigner } from './signer.ts';
import { readSvid } from './svid.ts';

/** What a gateway asks of its authority, wherever that is. Each call settles within seconds. */
export interface CertificateAuthorityClient {
  /** For messages: `the CA at https://10.0.0.10:15444`. */
  readonly name: string;
  /** False when the authority is inside this process and needs no proof. */
  readonly wantsToken: boolean;
  /** First certificates of a node, its services and its edge gateway, for one unused token. */
  enrol(identities: readonly Identity[], token: string | undefined): Promise<Issued>;
  /**
   * New certificates with new keys, proved by `holder`, which must still be valid.
   *
   * @param bundle whom to trust as the authority
   */
  renew(holder: Svid, bundle: TrustBundle, identities: readonly Identity[]): Promise<Issued>;
  /** The roots to trust. */
  bundle(): Promise<TrustBundle>;
  close(): Promise<void>;
}

/** Each identity asked for is in one of the two lists. */
export interface Issued {
  readonly svids: readonly Svid[];
  readonly refused: IssuedBatch['refused'];
  readonly bundle: TrustBundle;
}

/** A new key for each identity and the request to it; the keys stay here. */
export function prepareRequests(identities: readonly Identity[]): {
  readonly wanted: readonly WantedCertificate[];
  readonly keys: ReadonlyMap<string, string>;
} {
  const keys = new Map<string, string>();
  const wanted = identities.map((identity) => {
    const { signer, pem } = generateSigner();
    const uri = formatIdentity(identity);
    keys.set(uri, pem);
    return { identity: uri, csr: toPem('CERTIFICATE REQUEST', encodeRequest(signer)) };
  });
  return { wanted, keys };
}

/** Joins what came back with the keys that stayed. @throws MeshError `ca_answer_invalid` */
export function joinKeys(
  batch: IssuedBatch,
  keys: ReadonlyMap<string, string>,
  where: string,
): Issued {
  const svids = batch.certificates.map(({ identity, certPem }) => {
    const keyPem = keys.get(identity);
    if (keyPem === undefined) {
      throw new MeshError('ca_answer_invalid', `${where} answered for ${identity}, unasked`);
    }
    const svid = readSvid({ certPem, keyPem }, batch.bundle.trustDomain, where);
    if (svid.identity !== identity) {
      throw new MeshError(
        'ca_answer_invalid',
        `${where}: wanted a certificate for ${identity}, got one for ${svid.identity}`,
      );
    }
    return svid;
  });
  return { svids, refused: batch.refused, bundle: batch.bundle };
}
