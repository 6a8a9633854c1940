import { isIP, isIPv4 } from 'node:net';
import type { Address } from '#kit/address.ts';

const HOST = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::\d{1,5})?$/;

/**
 * Whether a Host header may be answered on the TCP listener. A page on the web can point its own name at 127.0.0.1
 * (DNS rebinding) and then read what it likes as "same origin"; it cannot make a browser send another Host than its name.
 * So: `localhost`, a loopback address, or the address we listen on; any address when that is a wildcard.
 */
export function mayAnswer(host: string | undefined, bound: Address): boolean {
  const match = host === undefined ? null : HOST.exec(host.toLowerCase());
  if (match === null) return false;
  const name = match[1] ?? match[2]!;
  if (name === 'localhost' || name === bound.host.toLowerCase()) return true;
  if (isIP(name) === 0) return false;
  return isLoopback(name) || bound.host === '0.0.0.0' || bound.host === '::';
}

function isLoopback(ip: string): boolean {
  return isIPv4(ip) ? ip.startsWith('127.') : ip === '::1';
}
