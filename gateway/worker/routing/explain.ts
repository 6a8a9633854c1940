import { MeshError } from '#kit/errors.ts';
import { formatIdentity, type Identity } from '../../../ca/identity.ts';
import type { Explanation, ExplainRequest } from '../../ipc.ts';
import type { Endpoint } from '../balance/endpoint.ts';
import type { ServiceTarget } from '../balance/service-target.ts';
import { BadMessage } from '../codec/bad-message.ts';
import { canonicalPath } from '../codec/path.ts';
import type { CompiledDestination, Resolution } from './compiled-route.ts';
import type { AuthorisationDecision } from './intentions.ts';
import type { RequestView } from './request-view.ts';
import { EGRESS, type Considered } from './table.ts';

/** What `explain` asks of the live tables: the calls the data path makes, and the list of what was considered. */
export interface ExplainTables {
  readonly trustDomain: string;
  readonly localNode: string;
  considered(scope: string, source: string, request: RequestView): readonly Considered[];
  resolve(scope: string, source: string, request: RequestView): Resolution | undefined;
  service(name: string): ServiceTarget | undefined;
  authorise(destination: string, identity: string, request: RequestView): AuthorisationDecision;
}

type ExplainedDestination = Explanation['destinations'][number];
type ExplainedEndpoint = ExplainedDestination['endpoints'][number];

/** @throws MeshError `bad_request` when the URL is none, or there is no host */
export function explain(tables: ExplainTables, asked: ExplainRequest, nowMs: number): Explanation {
  const request = requestOf(asked);
  const scope = asked.gateway ?? EGRESS;
  const source = asked.from ?? '';
  const identity = sourceIdentity(tables, asked);
  const resolution = tables.resolve(scope, source, request);
  const destinations = (resolution?.destinations ?? []).map((destination) =>
    explainDestination(tables, destination, resolution!.totalWeight, identity, request, nowMs),
  );
  return {
    request: {
      method: request.method,
      host: request.host,
      path: request.path,
      source: identity.kind === 'svc' ? identity.name : `${identity.kind}/${identity.name}`,
    },
    considered: tables.considered(scope, source, request),
    route: resolution?.route?.name,
    destinations,
    outcome: resolution === undefined ? '404 NR' : outcomeOf(tables, destinations),
  };
}

function explainDestination(
  tables: ExplainTables,
  { service, subset, weight }: CompiledDestination,
  totalWeight: number,
  identity: Identity,
  request: RequestView,
  nowMs: number,
): ExplainedDestination {
  const { allowed, why } = tables.authorise(service, formatIdentity(identity), request);
  const target = tables.service(service);
  const picked = target?.endpoints(subset).endpoints ?? [];
  const areAllOut = picked.every(({ standing }) => !standing.isIn);
  return {
    service,
    subset,
    share: (weight / totalWeight) * 100,
    authorised: { allowed, why },
    endpoints: (target?.membersOf(subset) ?? []).map((endpoint) =>
      explainEndpoint(endpoint, picked.includes(endpoint), areAllOut, nowMs),
    ),
  };
}

function explainEndpoint(
  endpoint: Endpoint,
  isPicked: boolean,
  areAllOut: boolean,
  nowMs: number,
): ExplainedEndpoint {
  const { instance, standing, hindrance, weight } = endpoint;
  let why = hindrance ?? (isPicked ? 'passing' : 'weight 0');
  if (isPicked && !standing.isIn) {
    const seconds = Math.ceil(Math.max(0, standing.outUntilMs - nowMs) / 1000);
    const out = standing.isEjected ? 'ejected after failures' : 'unreachable';
    why = `${out}, ${seconds === 0 ? 'tried again with the next request' : `for another ${seconds} s`}`;
    if (areAllOut) why += ', but used because all others are out too';
  }
  return {
    instance: instance.id,
    node: instance.node,
    address: instance.address,
    weight,
    usable: isPicked && (standing.isIn || areAllOut),
    why,
  };
}

/** `ok`, or what fails and for which part of the requests when it is not all of them. */
function outcomeOf(tables: ExplainTables, destinations: readonly ExplainedDestination[]): string {
  const shares = new Map<string, number>();
  for (const { service, share, authorised, endpoints } of destinations) {
    const isServed = endpoints.some(({ usable }) => usable);
    const served = tables.service(service)?.isTcp === true ? '502 UPE' : 'ok';
    const outcome = !authorised.allowed ? '403 DENIED' : isServed ? served : '503 UH';
    if (share > 0) shares.set(outcome, (shares.get(outcome) ?? 0) + share);
  }
  if (shares.size === 1) return [...shares.keys()][0]!;
  return [...shares].map(([outcome, share]) => `${outcome} for ${round(share)} %`).join(', ');
}

function round(share: number): number {
  return Math.round(share * 100) / 100;
}

function sourceIdentity(
  { trustDomain, localNode }: ExplainTables,
  asked: ExplainRequest,
): Identity {
  if (asked.from !== undefined) return { trustDomain, kind: 'svc', name: asked.from };
  if (asked.gateway !== undefined) return { trustDomain, kind: 'edge', name: asked.gateway };
  return { trustDomain, kind: 'node', name: localNode };
}

function requestOf({ method, url, headers }: ExplainRequest): RequestView {
  const fields = new Map(headers.map(([name, value]) => [name.toLowerCase(), value]));
  const isPath = url.startsWith('/');
  const host = fields.get('host');
  if (isPath && host === undefined) {
    throw new MeshError(
      'bad_request',
      `"${url}" has no host: give a whole URL, or the host with -H 'host: …'`,
    );
  }
  const whole = isPath ? `http://${host}${url}` : url;
  const parts = URL_PARTS.exec(whole);
  const parsed = URL.parse(whole);
  if (parts === null || parsed === null) {
    throw new MeshError(
      'bad_request',
      `"${url}" is neither a URL such as http://orders.mesh/path nor a path that starts with "/"`,
    );
  }
  if (host === undefined) fields.set('host', parsed.host);
  return {
    method: method.toUpperCase(),
    host: parsed.hostname,
    path: pathOf(parts[1] || '/'),
    query: parts[2] ?? '',
    header: (name) => fields.get(name),
  };
}

/** Path and query as typed: `URL` would resolve the dot segments that the data path refuses. */
const URL_PARTS = /^[a-z]+:\/\/[^/?#]+([^?#]*)(?:\?([^#]*))?/i;

function pathOf(path: string): string {
  try {
    return canonicalPath(path);
  } catch (error) {
    if (!(error instanceof BadMessage)) throw error;
    throw new MeshError('bad_request', `${error.status}: ${error.message}`, { cause: error });
  }
}
