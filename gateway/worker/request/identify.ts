import { formatIdentity, parseIdentity } from '../../../ca/identity.ts';

/**
 * Step "identify": what is known about a connection before its first request, the same for every
 * request on it. Who calls is taken from the peer certificate or from the listener, never from a field.
 */
export interface Arrival {
  readonly direction: 'edge' | 'egress' | 'ingress';
  /** Which routes apply: '' for internal ones, else the edge gateway's name. */
  readonly scope: string;
  /** The caller's SPIFFE id. */
  readonly sourceIdentity: string;
  /** The calling service, for routes with `sources`; '' when the caller is no service. */
  readonly sourceService: string;
  /** The caller in metrics and logs: `web`, `node/vm-a`, `edge/public`. */
  readonly sourceLabel: string;
  /** Every request goes to this service, whatever its Host: an egress listener with `to`, or the name asked for by SNI. */
  readonly service: string | undefined;
  /** Of an edge listener for TCP: its port, by which TCP routes go. */
  readonly port?: number;
  readonly scheme: 'http' | 'https';
  /** No gateway has handled the request before: the forwarding fields are ours to set. */
  readonly isFirstHop: boolean;
}

/** @throws never; an identity that is not one of ours is shown as it is */
export function arrivalOf(
  direction: Arrival['direction'],
  scope: string,
  sourceIdentity: string,
  service: string | undefined,
  scheme: Arrival['scheme'],
): Arrival {
  const identity = parseIdentity(sourceIdentity);
  const sourceService = identity?.kind === 'svc' ? identity.name : '';
  const sourceLabel =
    identity === undefined
      ? sourceIdentity
      : identity.kind === 'svc'
        ? identity.name
        : `${identity.kind}/${identity.name}`;
  const isFirstHop = direction !== 'ingress';
  return {
    direction,
    scope,
    sourceIdentity,
    sourceService,
    sourceLabel,
    service,
    scheme,
    isFirstHop,
  };
}

/** The id that a call through an egress listener carries: its `as`, or the node's own. */
export function egressIdentity(
  as: string | undefined,
  trustDomain: string,
  nodeIdentity: string,
): string {
  return as === undefined ? nodeIdentity : formatIdentity({ trustDomain, kind: 'svc', name: as });
}
