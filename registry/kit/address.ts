import { isIPv6 } from 'node:net';

/** Where something listens or is dialled. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

export const ADDRESS_WANTED = 'an address such as "127.0.0.1:8080" or "[::1]:8080"';

const ADDRESS = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/;

/** `host:port` with IPv6 in brackets; undefined when it is not one. Port 0 asks the kernel for a free one. */
export function parseAddress(text: string): Address | undefined {
  const match = ADDRESS.exec(text);
  if (match === null) return undefined;
  const port = Number(match[3]);
  if (port > 65_535 || (match[1] !== undefined && !isIPv6(match[1]))) return undefined;
  return { host: match[1] ?? match[2]!, port };
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
