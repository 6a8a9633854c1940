import { pino, type Logger } from 'pino';

export type Log = Logger;

/**
 * JSON lines on standard output (journald takes them from there), or on the given file descriptor.
 * No transports: they start worker threads, and they break in a bundle.
 */
export function createLog(options: { readonly level?: string; readonly fd?: number } = {}): Log {
  return pino(
    {
      level: options.level ?? process.env['GATEMESH_LOG_LEVEL'] ?? 'info',
      base: null,
      formatters: { level: (label) => ({ level: label }) },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
    },
    pino.destination({ fd: options.fd ?? 1, sync: true }),
  );
}
