/** What the process exits with (contract section 2): done, failed, bad usage or configuration, a needed server is away. */
export const EXIT = { done: 0, failed: 1, usage: 64, unreachable: 69 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/**
 * Every failure the mesh raises on purpose. `code` is the contract: logs, metrics and callers match
 * on it and it never changes; `message` is for people: what, where, what was wanted, what to do.
 */
export class MeshError extends Error {
  readonly code: string;
  readonly exitCode: ExitCode;

  constructor(
    code: string,
    message: string,
    options: { readonly cause?: unknown; readonly exitCode?: ExitCode } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MeshError';
    this.code = code;
    this.exitCode = options.exitCode ?? EXIT.failed;
  }
}

/** The text of anything thrown, for a log line or a message; never a stack. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // A refused connection to a name with several addresses arrives as an AggregateError with an empty message.
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map(messageOf).join('; ');
  }
  return error.message;
}
