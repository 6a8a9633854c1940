import { status } from '@grpc/grpc-js';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';

/** What gRPC hands over when a call fails; anything else has code UNKNOWN. */
interface GrpcFailure {
  readonly code: number;
  readonly details: string;
}

function failureOf(error: unknown): GrpcFailure {
  const { code, details } = error as { code?: unknown; details?: unknown };
  return {
    code: typeof code === 'number' ? code : status.UNKNOWN,
    details: typeof details === 'string' ? details : messageOf(error),
  };
}

const ELSEWHERE: ReadonlySet<number> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.CANCELLED,
  status.INTERNAL,
  status.DATA_LOSS,
]);

/** The member is away, frozen or without a leader: another one may answer. */
export function worthAnotherMember(error: unknown): boolean {
  return ELSEWHERE.has(failureOf(error).code);
}

/** The request did not leave this process, so that a write may be tried again. */
export function wasNotSent(error: unknown): boolean {
  const { code, details } = failureOf(error);
  return (
    code === status.UNAVAILABLE &&
    /^No connection established|^Name resolution failed|^Channel closed before call started|etcdserver: no leader/.test(
      details,
    )
  );
}

/** The cause in a few words: `connect ECONNREFUSED 127.0.0.1:2379`, `no answer in time`. */
export function reasonOf(error: unknown): string {
  const { code, details } = failureOf(error);
  if (code === status.DEADLINE_EXCEEDED) return 'no answer in time';
  const last = /Last error: (.*?)(?:\. Resolution note:.*)?$/s.exec(details)?.[1];
  // grpc-js prefixes "Error: " once or twice.
  return (last ?? details).replace(/^(?:Error: )+/, '').trim() || `gRPC status ${status[code]}`;
}

/** No member could be reached, or none that answers. */
export function unreachable(
  what: string,
  tried: readonly string[],
  remark: string,
  cause: unknown,
): MeshError {
  const rest = remark === '' ? '' : ` ${remark}`;
  return new MeshError(
    'store_unreachable',
    `etcd cannot be reached, wanted to ${what}. Tried ${tried.join('; ')}.${rest} ` +
      'Is etcd running there, and do scheme, address and certificates in registry.etcd fit it?',
    { cause, exitCode: EXIT.unreachable },
  );
}

/** etcd answered, and the answer is no. */
export function rejectionOf(error: unknown, what: string): MeshError {
  const { code, details } = failureOf(error);
  const because = details.replace(/^etcdserver: /, '');
  if (
    code === status.PERMISSION_DENIED ||
    code === status.UNAUTHENTICATED ||
    /permission denied|user name is empty/.test(details)
  ) {
    return new MeshError(
      'store_denied',
      `etcd does not let this client ${what}: ${because}. ` +
        'Grant a role with this key range to the user that the client certificate names (its CN)',
      { cause: error },
    );
  }
  if (details.includes('requested lease not found')) {
    return new MeshError(
      'lease_lost',
      'the lease has expired or was revoked: ask for a new one and put its keys again',
      { cause: error },
    );
  }
  if (details.includes('database space exceeded')) {
    return new MeshError(
      'store_full',
      `etcd refuses to ${what}: its space quota is spent. ` +
        'Compact and defragment it, then run "etcdctl alarm disarm"',
      { cause: error },
    );
  }
  return new MeshError('store_refused', `etcd refuses to ${what}: ${because}`, { cause: error });
}

/** A read at a revision that etcd has compacted meanwhile. */
export function isCompacted(error: unknown): boolean {
  return error instanceof MeshError && failureOf(error.cause).code === status.OUT_OF_RANGE;
}
