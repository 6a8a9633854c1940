import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { formatAddress, parseAddress } from '#kit/address.ts';
import type { Clock } from '#kit/clock.ts';
import { formatIdentity, type Identity, type IdentityKind, type Svid } from '../../ca/identity.ts';
import { classify, configKey, nodeKey } from '../../registry/documents/keys.ts';
import type { NodeDocument, Rejection } from '../../registry/documents/types.ts';
import type { Store } from '../../registry/store/store.ts';
import type { RegistryView } from '../../registry/view.ts';
import type {
  AdminSource,
  CertificateExpiry,
  EndpointHealth,
  IdentityReport,
  ListenerReport,
  NodeReport,
  StatusReport,
} from '../admin/source.ts';
import type { ExplainRequest, Explanation } from '../ipc.ts';
import type { EdgeListeners } from './edge-listeners.ts';
import type { IdentitySource } from './identity-source.ts';
import type { OwnListener } from './own-listeners.ts';
import type { Supervisor } from './supervisor.ts';
import type { Workers } from './workers.ts';

export interface AdminSourceParts {
  readonly supervisor: Supervisor;
  readonly workers: Workers;
  readonly view: RegistryView;
  readonly identity: IdentitySource;
  readonly edge: EdgeListeners;
  readonly listeners: readonly OwnListener[];
  readonly store: Store;
  readonly trustDomain: string;
  readonly version: string;
  /** The client certificate for etcd. */
  readonly etcdCertFile: string | undefined;
  readonly clock: Clock;
}

/** The running gateway as the admin API sees it. */
export function adminSource(parts: AdminSourceParts): AdminSource {
  const { workers, view } = parts;
  return {
    ready: () => {
      const why = whyNotReady(parts);
      return { ready: why.length === 0, why, warnings: missingCertificates(parts) };
    },
    status: () => statusReport(parts),
    config: () => {
      const { revision, source, documents } = view.state;
      return { revision, source, documents: Object.fromEntries(documents) };
    },
    explain: async (request) => {
      const explanation = await workers.explain(request);
      const notInForce = concerned(view.state.rejected, request, explanation);
      return notInForce.length === 0 ? explanation : { ...explanation, notInForce };
    },
    workerMetrics: () => workers.metrics(),
    endpointHealth: () => endpointHealth(parts),
    certificates: () => certificates(parts),
    nodeAdminTarget: (node) => {
      const { trustDomain } = parts;
      const document = nodeDocuments(parts).find(({ name }) => name === node);
      const at = document === undefined ? undefined : parseAddress(document.address);
      const own = nodeSvid(parts);
      if (at === undefined || own === undefined) return undefined;
      return {
        ...at,
        servername: `${node}.node.${trustDomain}`,
        identity: formatIdentity({ trustDomain, kind: 'node', name: node }),
        cert: own.certPem,
        key: own.keyPem,
        ca: parts.identity.material?.bundle.rootsPem ?? [],
      };
    },
  };
}

function whyNotReady(parts: AdminSourceParts): readonly string[] {
  const { supervisor, workers, view } = parts;
  const { config } = supervisor;
  const { source } = view.state;
  const down = workers.summaries.filter(({ state }) => state !== 'running').length;
  return [
    ...(source === 'none'
      ? [`no tables: ${parts.store.name} has not answered yet and there is no snapshot`]
      : []),
    ...(nodeSvid(parts) === undefined ? [noCertificate(parts, 'node', config.node)] : []),
    ...(down > 0 ? [`${down} of ${workers.summaries.length} workers not running`] : []),
    ...(supervisor.draining ? ['draining'] : []),
  ];
}

/** Of the services and the edge gateway here. */
function missingCertificates({
  supervisor,
  identity,
  trustDomain,
  clock,
}: AdminSourceParts): string[] {
  const node = formatIdentity({ trustDomain, kind: 'node', name: supervisor.config.node });
  const svids = identity.material?.svids;
  const isValid = (name: string) => (svids?.get(name)?.notAfterMs ?? 0) > clock.wallMs();
  return identity.state
    .filter((state) => state.identity !== node && !isValid(state.identity))
    .map((state) => missing(state.identity, state.lastError));
}

function missing(identity: string, lastError: string | undefined): string {
  return `no valid certificate for ${identity}${lastError === undefined ? '' : `: ${lastError}`}`;
}

/**
 * Rejected documents that a request may be waiting for. Every route, since one that cannot be read does not say
 * which hosts it is for.
 */
function concerned(
  rejected: readonly Rejection[],
  { gateway }: ExplainRequest,
  { destinations }: Explanation,
): readonly Rejection[] {
  const keys = new Set([
    configKey('intentions', '*'),
    ...destinations.flatMap(({ service }) => [
      configKey('intentions', service),
      configKey('services', service),
    ]),
    ...(gateway === undefined ? [] : [configKey('gateways', gateway)]),
  ]);
  const isRoute = (key: string) => classify(key)?.kind === 'routes';
  return rejected.filter(({ key }) => isRoute(key) || keys.has(key));
}

function noCertificate(parts: AdminSourceParts, kind: IdentityKind, name: string): string {
  const wanted = formatIdentity({ trustDomain: parts.trustDomain, kind, name });
  const why = parts.identity.state.find(({ identity }) => identity === wanted)?.lastError;
  return missing(wanted, why);
}

function nodeSvid({ supervisor, trustDomain }: AdminSourceParts): Svid | undefined {
  const identity: Identity = { trustDomain, kind: 'node', name: supervisor.config.node };
  return supervisor.svid(identity);
}

function statusReport(parts: AdminSourceParts): StatusReport {
  const { supervisor, workers, view, clock } = parts;
  const { config } = supervisor;
  const { revision, source, connected, currentAt, rejected, held } = view.state;
  return {
    node: config.node,
    zone: config.zone,
    version: parts.version,
    trustDomain: parts.trustDomain,
    gateway: config.gateway ?? null,
    uptimeSeconds: supervisor.uptimeMs / 1_000,
    draining: supervisor.draining,
    fileProblem: supervisor.fileProblem ?? null,
    registry: {
      name: parts.store.name,
      connected,
      revision,
      applied: supervisor.applied,
      source,
      staleSeconds: currentAt === undefined ? null : (clock.now() - currentAt) / 1_000,
      held: held ?? null,
      rejected,
    },
    identities: identityReports(parts),
    workers: workers.summaries,
    instances: supervisor.instances.map(({ instance, state, probed, since }) => ({
      service: instance.service,
      id: instance.id,
      address: instance.app,
      state,
      health: probed.health,
      since: since ?? timeText(clock.wallMs()),
      lastError:
        probed.lastError ??
        (state === 'starting' ? noCertificate(parts, 'svc', instance.service) : null),
    })),
    listeners: listenerReports(parts),
    nodes: nodeDocuments(parts).map(({ name, address, zone, version }): NodeReport => ({
      name,
      address,
      zone,
      version,
    })),
  };
}

/** Of all that are wanted, also those without a certificate yet. */
function identityReports({ identity: source }: AdminSourceParts): IdentityReport[] {
  return source.state.map(({ identity, notBeforeMs, notAfterMs, nextRenewalMs, lastError }) => ({
    identity,
    notBefore: notBeforeMs === undefined ? null : timeText(notBeforeMs),
    notAfter: notAfterMs === undefined ? null : timeText(notAfterMs),
    nextRenewal: nextRenewalMs === undefined ? null : timeText(nextRenewalMs),
    lastError: lastError ?? null,
  }));
}

function listenerReports({ listeners, edge, workers }: AdminSourceParts): ListenerReport[] {
  return [
    ...listeners.map(({ spec, socket }) => ({
      id: spec.id,
      kind: spec.kind,
      address: formatAddress(socket.address),
      error: workers.listenError(spec.id) ?? null,
    })),
    ...edge.states.map(({ id, address, error }) => ({
      id,
      kind: 'edge' as const,
      address: formatAddress(address),
      error: error ?? workers.listenError(id) ?? null,
    })),
  ];
}

function nodeDocuments({ view }: AdminSourceParts): readonly NodeDocument[] {
  return [...view.state.documents.values()].flatMap((typed) =>
    typed.kind === 'nodes' ? [typed.document] : [],
  );
}

/** Of every registered instance; the ones here as this gateway just found them. */
function endpointHealth({ supervisor, view }: AdminSourceParts): EndpointHealth[] {
  const here = `${nodeKey(supervisor.config.node)}/`;
  const elsewhere = [...view.state.documents].flatMap(([key, typed]) =>
    typed.kind === 'instances' && !key.startsWith(here) ? [typed.document] : [],
  );
  return [
    ...supervisor.instances.map(({ instance, state, probed }) => ({
      service: instance.service,
      instance: instance.id,
      up: state === 'ready' && probed.health === 'passing',
    })),
    ...elsewhere.map(({ service, id, state, health }) => ({
      service,
      instance: id,
      up: state === 'ready' && health === 'passing',
    })),
  ];
}

function certificates({ identity: source, etcdCertFile }: AdminSourceParts): CertificateExpiry[] {
  const material = source.material;
  const svids = [...(material?.svids.values() ?? [])];
  // One issuer signs many leaves.
  const issuers = new Set(svids.flatMap(({ certPem }) => pemBlocks(certPem).slice(1)));
  return [
    ...svids.map(({ identity, notAfterMs }) => ({ kind: 'leaf' as const, identity, notAfterMs })),
    ...[...issuers].map((pem) => expiryOf('issuer', pem)),
    ...(material?.bundle.rootsPem ?? []).map((pem) => expiryOf('root', pem)),
    ...(etcdCertFile === undefined ? [] : fileExpiry(etcdCertFile)),
  ];
}

function expiryOf(kind: CertificateExpiry['kind'], pem: string): CertificateExpiry {
  const { subject, validToDate } = new X509Certificate(pem);
  const name = /^CN=(.*)$/m.exec(subject)?.[1] ?? subject.replaceAll('\n', ', ');
  return { kind, identity: name, notAfterMs: validToDate.getTime() };
}

/** Read each time, since others replace the file; a scrape comes every few seconds. */
function fileExpiry(file: string): CertificateExpiry[] {
  try {
    return [expiryOf('etcd', readFileSync(file, 'utf8'))];
  } catch {
    // The store says in the log what is wrong with its files.
    return [];
  }
}

function pemBlocks(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
}

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}
