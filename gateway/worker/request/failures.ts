import type { Failure } from './ports.ts';

/** Every way a gateway ends a request itself (contract section 5); the only place that maps a cause to a status. */
export const FAILURES = {
  noRoute: failure(
    'no_route',
    'NR',
    404,
    true,
    'no route or service answers for this host and path',
  ),
  denied: failure('denied', 'DENIED', 403, true, 'the caller is not allowed to call this service'),
  noEndpoint: fault(
    'no_healthy_endpoint',
    'UH',
    503,
    true,
    'no instance of the service is healthy',
  ),
  connect: fault('connect_failure', 'UF', 502, true, 'the service could not be reached'),
  noIdentity: failure(
    'no_identity',
    'UF',
    502,
    true,
    'this gateway has no certificate for the caller; "gatemesh status" says why',
  ),
  peerRefused: failure(
    'connect_failure',
    'UF',
    502,
    true,
    'the other gateway did not take the request',
  ),
  refused: failure('connect_failure', 'UF', 502, true, 'the service did not take the request'),
  closed: fault(
    'upstream_closed',
    'UC',
    502,
    false,
    'the service closed the connection before it answered',
  ),
  badResponse: fault(
    'bad_response',
    'UC',
    502,
    false,
    'the service sent something that is not HTTP',
  ),
  timeout: fault('timeout', 'UT', 504, false, 'the service did not answer in time'),
  loop: failure(
    'loop',
    'LOOP',
    508,
    false,
    'the request went round through too many gateways: a service or route leads back to where it came from',
  ),
  wrongProtocol: failure(
    'wrong_protocol',
    'UPE',
    502,
    true,
    'the service is reached by HTTP, and this is a TCP connection, or the other way round',
  ),
  overflow: failure('overflow', 'UO', 503, true, 'too many requests to this service are under way'),
  unsupported: failure(
    'method_not_allowed',
    'NR',
    405,
    true,
    'CONNECT and TRACE are not served here',
  ),
  clientGone: failure('client_gone', 'DC', 499, false, 'the client went away'),
  draining: failure('draining', 'LR', 503, true, 'this gateway is about to stop'),
} as const;

/**
 * What another gateway made of the request, read from its `x-gatemesh-reason`: the caller's gateway
 * may try elsewhere, as if it had seen the failure itself. A denial is an answer, not a failure.
 */
export const FAILURE_OF_REASON: ReadonlyMap<string, Failure> = new Map<string, Failure>([
  ['UH', FAILURES.noEndpoint],
  ['NR', FAILURES.peerRefused],
  ['UF', FAILURES.connect],
  ['UO', FAILURES.overflow],
  ['UC', FAILURES.closed],
  ['UT', FAILURES.timeout],
  ['LR', FAILURES.draining],
]);

/** All that a gateway may say; what is none of these is not believed, counted or passed on. */
export const REASONS: ReadonlySet<string> = new Set([
  'BAD',
  ...Object.values(FAILURES).map(({ reason }) => reason),
]);

const GRPC_UNAVAILABLE = 14;
/** By reason: what a gRPC caller is told; any other is UNAVAILABLE, which its libraries may try again. */
const GRPC_STATUS: Readonly<Record<string, number>> = { UT: 4, DENIED: 7, NR: 12 };

/** The gRPC status code of a failure. */
export function grpcStatus({ reason }: Failure): number {
  return GRPC_STATUS[reason] ?? GRPC_UNAVAILABLE;
}

export type FailureName = keyof typeof FAILURES;

/** One that is the endpoint's own doing. */
function fault(...parts: Parameters<typeof failure>): Failure {
  return { ...failure(...parts), isEndpointFault: true };
}

function failure(
  error: string,
  reason: string,
  status: number,
  isUnsent: boolean,
  message: string,
): Failure {
  return { error, reason, status, isUnsent, isEndpointFault: false, message };
}

export const STATUS_TEXT: Readonly<Record<number, string>> = {
  400: '400 Bad Request',
  403: '403 Forbidden',
  404: '404 Not Found',
  405: '405 Method Not Allowed',
  408: '408 Request Timeout',
  413: '413 Content Too Large',
  414: '414 URI Too Long',
  417: '417 Expectation Failed',
  421: '421 Misdirected Request',
  429: '429 Too Many Requests',
  431: '431 Request Header Fields Too Large',
  499: '499 Client Closed Request',
  502: '502 Bad Gateway',
  503: '503 Service Unavailable',
  504: '504 Gateway Timeout',
  505: '505 HTTP Version Not Supported',
  508: '508 Loop Detected',
};
