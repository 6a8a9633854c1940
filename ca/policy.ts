import { formatIdentity, type Identity } from './identity.ts';

/** Who may have which certificate, and for how long. Pure. */

/**
 * How far back `notBefore` lies: VMs without good time keeping differ by tens of seconds, and a certificate that is "not
 * yet valid" on the next machine is an outage.
 */
export const BACKDATE_MS = 60_000;

/** Renewed at half of it, so the authority may be away for 12 hours. */
export const DEFAULT_LEAF_TTL_MS = 24 * 3_600_000;
/** Below this there is no time to renew in; short lives are for tests. */
export const MIN_LEAF_TTL_MS = 2_000;
/** Nothing is revoked actively before it ends, so it must end soon. */
export const MAX_LEAF_TTL_MS = 30 * 24 * 3_600_000;

export const MIN_TOKEN_TTL_MS = 1_000;
export const DEFAULT_TOKEN_TTL_MS = 10 * 60_000;
export const MAX_TOKEN_TTL_MS = 24 * 3_600_000;

/** What a node was enrolled for: its own identity, these services, and at most one edge gateway. */
export interface Enrolment {
  readonly node: string;
  readonly services: readonly string[];
  readonly gateway: string | undefined;
}

/** Who asks, and how that is known. */
export type Caller =
  /** Someone on this machine who may open the local socket. */
  | { readonly kind: 'operator' }
  /** The process of this machine that has the authority inside. */
  | { readonly kind: 'local' }
  /** The holder of an unused token. */
  | { readonly kind: 'token'; readonly enrolment: Enrolment }
  /** The holder of a valid certificate; `enrolment` is that of a node's, if it was enrolled here. */
  | {
      readonly kind: 'certificate';
      readonly identity: Identity;
      readonly enrolment: Enrolment | undefined;
    };

export type Decision =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      readonly code: 'trust_domain_mismatch' | 'identity_not_allowed';
      readonly message: string;
    };

const ALLOWED: Decision = { allowed: true };

/** May this caller have a certificate for this identity? */
export function mayHave(caller: Caller, wanted: Identity, trustDomain: string): Decision {
  if (wanted.trustDomain !== trustDomain) {
    return {
      allowed: false,
      code: 'trust_domain_mismatch',
      message: `${formatIdentity(wanted)}: this authority signs for the trust domain "${trustDomain}" only`,
    };
  }
  switch (caller.kind) {
    case 'operator':
    case 'local':
      return ALLOWED;
    case 'token':
      return covers(caller.enrolment, wanted)
        ? ALLOWED
        : refuse(
            wanted,
            `the token is for ${describeEnrolment(caller.enrolment)}`,
            caller.enrolment.node,
          );
    case 'certificate': {
      const { identity, enrolment } = caller;
      if (identity.kind === wanted.kind && identity.name === wanted.name) return ALLOWED;
      if (identity.kind === 'node' && enrolment !== undefined && covers(enrolment, wanted)) {
        return ALLOWED;
      }
      const what =
        identity.kind === 'node' && enrolment !== undefined
          ? `the node was enrolled for ${describeEnrolment(enrolment)}`
          : `${formatIdentity(identity)} may renew itself only`;
      return refuse(wanted, what, identity.kind === 'node' ? identity.name : undefined);
    }
  }
}

function covers(enrolment: Enrolment, { kind, name }: Identity): boolean {
  switch (kind) {
    case 'node':
      return name === enrolment.node;
    case 'svc':
      return enrolment.services.includes(name);
    case 'edge':
      return name === enrolment.gateway;
  }
}

function refuse(wanted: Identity, why: string, node: string | undefined): Decision {
  const remedy =
    node === undefined || wanted.kind === 'node'
      ? ''
      : `. To add it: gatemesh ca token --node ${node} with all of its services, and put the token in its tokenFile`;
  return {
    allowed: false,
    code: 'identity_not_allowed',
    message: `${formatIdentity(wanted)} is refused: ${why}${remedy}`,
  };
}

/** `node "vm-a", services "web", "orders", gateway "public"` */
export function describeEnrolment({ node, services, gateway }: Enrolment): string {
  const parts = [`node "${node}"`];
  if (services.length > 0) parts.push(`services ${services.map((name) => `"${name}"`).join(', ')}`);
  if (gateway !== undefined) parts.push(`gateway "${gateway}"`);
  return parts.join(', ');
}
