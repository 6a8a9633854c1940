import { z } from 'zod';
import { COMMON, fields, flag, listOf, name, port, serverName } from './fields.ts';
import { destinations } from './route.ts';
import type { TcpRouteDocument } from './types.ts';

const GATEWAYS_WANTED =
  'a list of at least one gateway; a call between services needs no TCP route: an egress listener names the service in "to"';

/** `config/tcp-routes/<route>` */
export const tcpRoute = fields(
  {
    enabled: z.exactOptional(flag()),
    gateways: listOf(name, GATEWAYS_WANTED, 1),
    port,
    sni: z.exactOptional(serverName),
    snis: z.exactOptional(listOf(serverName, 'a list of at least one server name', 1)),
    to: destinations,
    ...COMMON,
  },
  ['priority', 'sources', 'timeout', 'idleTimeout', 'proxyProtocol'],
)
  .refine(({ sni, snis }) => sni === undefined || snis === undefined, {
    error: 'one of sni and snis',
    params: { got: 'both' },
  })
  .transform((input): Omit<TcpRouteDocument, 'name'> => ({
    enabled: input.enabled ?? true,
    gateways: input.gateways,
    port: input.port,
    snis: input.snis ?? (input.sni === undefined ? [] : [input.sni]),
    to: input.to,
  }));
