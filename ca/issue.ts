import type { KeyObject } from 'node:crypto';
import { MeshError, messageOf } from '#kit/errors.ts';
import { formatIdentity, parseIdentity, type Identity } from './identity.ts';
import type { Ledger } from './ledger.ts';
import { fromPem, toPem } from './pem.ts';
import { MAX_LEAF_TTL_MS, mayHave, MIN_LEAF_TTL_MS, type Caller } from './policy.ts';
import { leafCertificate, leafNames, type Issuer } from './profile.ts';
import {
  keyHash,
  MAX_CSR_BYTES,
  readPublicKey,
  readRequest,
  verifyEcdsa,
  type RequestFields,
} from './x509.ts';

/** What a refused request is answered with over HTTP; the code is the contract, the message is for people. */
const REFUSALS = {
  csr_too_large: 413,
  csr_malformed: 400,
  csr_key_kind: 400,
  csr_signature: 400,
  key_of_authority: 403,
  key_bound: 403,
  identity_malformed: 400,
  trust_domain_mismatch: 403,
  identity_not_allowed: 403,
  ttl_not_allowed: 400,
  issuer_ending: 503,
} as const;

export type RefusalCode = keyof typeof REFUSALS;

/** A request for a certificate that is not granted. */
export class Refusal extends MeshError {
  readonly status: number;

  constructor(code: RefusalCode, message: string, cause?: unknown) {
    super(code, message, { cause });
    this.status = REFUSALS[code];
  }
}

/** One wanted certificate as it comes in, still text. */
export interface IssueRequest {
  readonly caller: Caller;
  /** Names the caller in the book: a SPIFFE id, `token 3f…`, `operator`. */
  readonly requester: string;
  /** Full SPIFFE id. */
  readonly identity: string;
  /** PEM. */
  readonly csr: string;
  /** Only an operator may choose; everyone else gets the authority's own. */
  readonly ttlMs?: number;
}

export interface IssuedCertificate {
  readonly identity: string;
  /** Leaf, then issuer: PEM. */
  readonly certPem: string;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** What signing takes. */
export interface IssuingAuthority {
  readonly trustDomain: string;
  readonly issuer: Issuer;
  readonly issuerPem: string;
  readonly ledger: Ledger;
  readonly leafTtlMs: number;
  /** Unix ms. */
  nowMs(): number;
}

/** A request that passed every check; nothing is signed or written yet. */
export interface Examined {
  readonly request: IssueRequest;
  readonly identity: Identity;
  readonly spki: Buffer;
  readonly ttlMs: number;
}

/**
 * Issuance, from text to certificate. The stages, in this order:
 *
 * `size → parse → possession → key → authorise → template → sign → record → return`
 *
 * `examine` is the first five and changes nothing, so that a batch can be judged before its token is spent;
 * `certify` is the rest.
 *
 * @throws Refusal; MeshError `ca_ledger_unwritable`
 */
export async function issue(
  request: IssueRequest,
  authority: IssuingAuthority,
): Promise<IssuedCertificate> {
  return certify(examine(request, authority), authority);
}

/** Stages size to authorise. @throws Refusal */
export function examine(request: IssueRequest, authority: IssuingAuthority): Examined {
  const text = size(request.csr);
  const csr = parse(text);
  possession(csr);
  key(csr.spki, request.identity, authority);
  const { identity, ttlMs } = authorise(request, authority);
  return { request, identity, spki: csr.spki, ttlMs };
}

/** Stages template to return. @throws Refusal `key_bound`; MeshError `ca_ledger_unwritable` */
export async function certify(
  examined: Examined,
  authority: IssuingAuthority,
): Promise<IssuedCertificate> {
  const { identity, spki, ttlMs, request } = examined;
  const names = leafNames(identity);
  // Once more: a request beside this one may have come first with the same key. From here to the book is one turn.
  key(spki, names.uri, authority);
  const leaf = leafCertificate(names, spki, authority.issuer, authority.nowMs(), ttlMs);
  // On disk before the certificate leaves: there is none that the book does not know.
  await authority.ledger.record(
    {
      event: 'issue',
      serial: leaf.serial,
      identity: names.uri,
      key: keyHash(spki),
      requester: request.requester,
      notBefore: new Date(leaf.notBeforeMs).toISOString(),
      notAfter: new Date(leaf.notAfterMs).toISOString(),
    },
    authority.nowMs(),
  );
  return {
    identity: names.uri,
    certPem: toPem('CERTIFICATE', leaf.der) + authority.issuerPem,
    serial: leaf.serial,
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: leaf.notAfterMs,
  };
}

/** Base64 takes 4 characters for 3 bytes, and there are line ends and the two lines around. */
const MAX_CSR_CHARACTERS = Math.ceil(MAX_CSR_BYTES * 1.4);

function size(csr: string): string {
  if (csr.length <= MAX_CSR_CHARACTERS) return csr;
  throw new Refusal(
    'csr_too_large',
    `certificate request: ${csr.length} characters, at most ${MAX_CSR_CHARACTERS} are read`,
  );
}

function parse(text: string): RequestFields & { readonly publicKey: KeyObject } {
  let csr: RequestFields;
  try {
    const blocks = fromPem('CERTIFICATE REQUEST', text, 'certificate request');
    if (blocks.length > 1)
      throw new MeshError('malformed_der', 'certificate request: more than one');
    csr = readRequest(blocks[0]!);
  } catch (error) {
    throw new Refusal('csr_malformed', messageOf(error), error);
  }
  const publicKey = readPublicKey(csr.spki);
  if (publicKey === undefined) {
    throw new Refusal(
      'csr_key_kind',
      'certificate request: wanted a P-256 or P-384 key with its point uncompressed. To make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256',
    );
  }
  return { ...csr, publicKey };
}

/** Proof of possession (RFC 2986 section 3): the request is signed by the key it asks a certificate for. */
function possession(csr: RequestFields & { readonly publicKey: KeyObject }): void {
  if (verifyEcdsa(csr, csr.publicKey)) return;
  throw new Refusal(
    'csr_signature',
    'certificate request: not signed by its own key with ECDSA and SHA-256, SHA-384 or SHA-512',
  );
}

/** One key, one identity: a copied key file must not turn into a second name. */
function key(spki: Buffer, identity: string, authority: IssuingAuthority): void {
  if (spki.equals(authority.issuer.signer.spki)) {
    throw new Refusal('key_of_authority', 'certificate request: that is the key of this authority');
  }
  const owner = authority.ledger.ownerOf(keyHash(spki), authority.nowMs());
  if (owner !== undefined && owner !== identity) {
    throw new Refusal(
      'key_bound',
      `certificate request: the key belongs to ${owner} already. Make a new one for ${identity}`,
    );
  }
}

function authorise(
  request: IssueRequest,
  authority: IssuingAuthority,
): { readonly identity: Identity; readonly ttlMs: number } {
  const identity = parseIdentity(request.identity);
  if (identity === undefined) {
    throw new Refusal(
      'identity_malformed',
      `identity: wanted spiffe://${authority.trustDomain}/svc/<service>, /node/<node> or /edge/<gateway>, got "${request.identity.slice(0, 300)}"`,
    );
  }
  const decision = mayHave(request.caller, identity, authority.trustDomain);
  if (!decision.allowed) throw new Refusal(decision.code, decision.message);
  return { identity, ttlMs: lifetime(request, identity, authority) };
}

function lifetime(
  { ttlMs, caller }: IssueRequest,
  identity: Identity,
  authority: IssuingAuthority,
): number {
  const wantedMs = caller.kind === 'operator' && ttlMs !== undefined ? ttlMs : authority.leafTtlMs;
  if (wantedMs < MIN_LEAF_TTL_MS || wantedMs > MAX_LEAF_TTL_MS) {
    throw new Refusal(
      'ttl_not_allowed',
      `${formatIdentity(identity)}: a certificate lives from 2s to 30d`,
    );
  }
  const leftMs = authority.issuer.notAfterMs - authority.nowMs();
  // linkerd2#3676: an authority at its end went on signing certificates that had ended already.
  if (leftMs < MIN_LEAF_TTL_MS) {
    throw new Refusal(
      'issuer_ending',
      `the issuer's certificate ends at ${new Date(authority.issuer.notAfterMs).toISOString()}: nothing can be signed under it any more. The authority needs a new issuer`,
    );
  }
  return wantedMs;
}
