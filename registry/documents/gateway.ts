import { isIP } from 'node:net';
import { z } from 'zod';
import {
  absoluteFile,
  choice,
  cidr,
  COMMON,
  fields,
  listOf,
  name,
  port,
  serverName,
} from './fields.ts';
import type { CertificateDocument, GatewayDocument, GatewayListener } from './types.ts';

const BIND_WANTED = 'an IP address to listen on, such as "0.0.0.0" or "::"';

const listener = fields(
  {
    port,
    address: z.exactOptional(
      z.string({ error: BIND_WANTED }).refine((value) => isIP(value) !== 0, { error: BIND_WANTED }),
    ),
    protocol: z.exactOptional(choice(['http', 'https', 'tcp', 'tls-passthrough'])),
    certificates: z.exactOptional(listOf(name, 'a list of certificates')),
    tls: z.exactOptional(fields({ min: z.exactOptional(choice(['1.2', '1.3'])) }, ['acme'])),
  },
  ['redirect', 'proxyProtocol'],
)
  .transform((input): GatewayListener => ({
    port: input.port,
    address: input.address ?? '0.0.0.0',
    protocol: input.protocol ?? 'http',
    certificates: input.certificates ?? [],
    tlsMin: input.tls?.min ?? '1.2',
  }))
  .superRefine(({ protocol, certificates }, context) => {
    if ((protocol === 'https') === certificates.length > 0) return;
    const message =
      protocol === 'https'
        ? 'at least one certificate of config/certificates for https'
        : protocol === 'tls-passthrough'
          ? 'none: TLS ends at the service, which has the certificate'
          : 'none without "protocol": "https"';
    context.addIssue({ code: 'custom', path: ['certificates'], message });
  });

const LISTENERS_WANTED = 'a list of at least one listener';

/** `config/gateways/<gateway>` */
export const gateway = fields(
  {
    listeners: listOf(listener, LISTENERS_WANTED, 1).superRefine((listeners, context) => {
      const seen = new Set<string>();
      for (const [index, { address, port: at }] of listeners.entries()) {
        const place = `${address} ${at}`;
        if (seen.has(place)) {
          const message = 'a port and address that no listener above has';
          context.addIssue({ code: 'custom', path: [index, 'port'], message });
        }
        seen.add(place);
      }
    }),
    trustedProxies: z.exactOptional(listOf(cidr, 'a list of address ranges')),
    ...COMMON,
  },
  ['proxyProtocol', 'nodes', 'acme'],
).transform((input): Omit<GatewayDocument, 'name'> => ({
  listeners: input.listeners,
  trustedProxies: input.trustedProxies ?? [],
}));

/** `config/certificates/<name>` */
export const certificate = fields(
  {
    hosts: listOf(serverName, 'a list of at least one server name', 1),
    certFile: absoluteFile,
    keyFile: absoluteFile,
    ...COMMON,
  },
  ['acme', 'encryptedKey'],
).transform(({ hosts, certFile, keyFile }): Omit<CertificateDocument, 'name'> => ({
  hosts,
  certFile,
  keyFile,
}));
