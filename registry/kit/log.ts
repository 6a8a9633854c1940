import { pino, type Logger } from 'pino';

export type Log = Logger;

/** A write for each line was a third of what a request cost; what is kept back is lost when the process is killed. */
const BUFFERED = { minLength: 8_192, periodicFlush: 100 } as const;

/**
 * JSON lines on standard output (journald takes them from there), or on the given file descriptor.
 * `isBuffered`: lines leave together, within 100 ms; for many that are only read later.
 * No transports: they start worker threads, and they break in a bundle.
 */
export function createLog(
  options: { readonly level?: string; readonly fd?: number; readonly isBuffered?: boolean } = {},
): Log {
  const destination = pino.destination({
    fd: options.fd ?? 1,
    sync: true,
    ...(options.isBuffered === true ? BUFFERED : {}),
  });
  if (options.isBuffered === true) process.once('exit', () => destination.flushSync());
  return pino(
    {
      level: options.level ?? process.env['GATEMESH_LOG_LEVEL'] ?? 'info',
      base: null,
      formatters: { level: (label) => ({ level: label }) },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
    },
    destination,
  );
}
