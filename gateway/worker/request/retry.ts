import type { Failure } from './ports.ts';

/** RFC 9110 §9.2.2: sending one of these twice is the same as sending it once. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

/**
 * May the request be tried again? Only if nothing of an answer was seen, the whole body can be sent
 * again, tries and time are left, and either no service saw the request or it may see it twice.
 */
export function mayRetry(
  failure: Failure,
  attempt: {
    readonly method: string;
    readonly tries: number;
    readonly allowed: number;
    readonly isBodyKept: boolean;
    readonly leftMs: number;
  },
): boolean {
  if (attempt.tries > attempt.allowed || !attempt.isBodyKept || attempt.leftMs <= 0) return false;
  if (failure.isUnsent) return true;
  return failure.reason === 'UC' && IDEMPOTENT.has(attempt.method);
}
