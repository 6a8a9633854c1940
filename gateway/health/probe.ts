import { get } from '#kit/http.ts';
import net from 'node:net';
import type { Address } from '#kit/address.ts';
import { formatAddress } from '#kit/address.ts';
import { messageOf } from '#kit/errors.ts';
import type { Check } from '../../registry/documents/types.ts';

/** Undefined when the instance is well, else what was met: `connect ECONNREFUSED 127.0.0.1:8080`. Never rejects. */
export type Probe = (address: Address, check: Check) => Promise<string | undefined>;

/** More of an answer than this is not read; its status line has decided by then. */
const BODY_LIMIT = 64 * 1024;

/** One probe over a connection of its own, which proves that the instance still accepts. */
export const probe: Probe = (address, check) =>
  check.kind === 'http'
    ? probeHttp(address, check.path ?? '/', check.timeoutMs)
    : probeTcp(address, check.timeoutMs);

function probeHttp(address: Address, path: string, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const request = get({
      host: address.host,
      port: address.port,
      path,
      agent: false,
      headers: {
        host: formatAddress(address),
        'user-agent': 'gatemesh-check',
        connection: 'close',
      },
    });
    const finish = (problem: string | undefined): void => {
      clearTimeout(deadline);
      resolve(problem);
      request.destroy();
    };
    // Over the whole exchange: a server that sends a byte now and then is not well.
    const deadline = setTimeout(() => finish(timedOut(path, timeoutMs)), timeoutMs);
    request.on('error', (error) => finish(messageOf(error)));
    request.on('response', (response) => {
      const status = response.statusCode ?? 0;
      const problem = status >= 200 && status < 400 ? undefined : `GET ${path} answered ${status}`;
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > BODY_LIMIT) finish(problem);
      });
      response.on('end', () => finish(problem));
      response.on('error', (error) => finish(messageOf(error)));
    });
  });
}

function timedOut(path: string, timeoutMs: number): string {
  return `GET ${path} took longer than ${timeoutMs} ms`;
}

function probeTcp({ host, port }: Address, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    const finish = (problem: string | undefined): void => {
      clearTimeout(deadline);
      resolve(problem);
      socket.destroy();
    };
    const deadline = setTimeout(() => finish(`no connection within ${timeoutMs} ms`), timeoutMs);
    socket.on('connect', () => finish(undefined));
    socket.on('error', (error) => finish(messageOf(error)));
  });
}
