import type { Failure } from './ports.ts';

/** RFC 9110 §9.2.2: sending one of these twice is the same as sending it once. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

/** A body up to this size is kept, so that the request can be sent again. */
const MAX_KEPT_BODY_BYTES = 65_536;

/** The request's body so far, while it is small enough to be sent again. */
export class KeptBody {
  #pieces: Buffer[] | undefined;
  #bytes = 0;

  /** False once it has grown too big, or is not wanted any more. */
  get isKept(): boolean {
    return this.#pieces !== undefined;
  }

  start(): void {
    this.#pieces = [];
    this.#bytes = 0;
  }

  forget(): void {
    this.#pieces = undefined;
  }

  add(bytes: Buffer, start: number, end: number): void {
    if (this.#pieces === undefined) return;
    this.#bytes += end - start;
    if (this.#bytes > MAX_KEPT_BODY_BYTES) this.#pieces = undefined;
    else this.#pieces.push(Buffer.from(bytes.subarray(start, end)));
  }

  whole(): Buffer | undefined {
    const pieces = this.#pieces;
    return pieces === undefined || pieces.length === 0 ? undefined : Buffer.concat(pieces);
  }
}

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
