import type { Rejection } from '../../registry/documents/types.ts';
import type { ExplainReport, StatusReport } from '../admin/source.ts';
import type { Finding } from './check.ts';
import { oneLine, printable, relative, roughly, table } from './format.ts';

export function renderCheck(findings: readonly Finding[]): string[] {
  return table(
    findings.flatMap(({ level, what, found, todo }) => [
      [level, what, found],
      ...(todo === undefined ? [] : [['', '', `-> ${todo}`]]),
    ]),
  );
}

export function renderStatus(status: StatusReport, nowMs: number): string[] {
  const { registry } = status;
  const gateway = status.gateway === null ? '' : `, edge gateway ${status.gateway}`;
  const current =
    registry.staleSeconds === null
      ? 'never current'
      : `current ${roughly(registry.staleSeconds)} ago`;
  const lines = table([
    ['node', `${status.node}, zone ${status.zone}${gateway}${status.draining ? ', DRAINING' : ''}`],
    ['gatemesh', `${status.version}, up ${roughly(status.uptimeSeconds)}`],
    [
      'registry',
      `${registry.name}: ${registry.connected ? 'connected' : 'NOT CONNECTED'}, ${current}`,
    ],
    [
      'tables',
      `revision ${registry.applied} in force, ${registry.revision} seen, from ${FROM[registry.source]}`,
    ],
    ...(registry.held === null ? [] : [['held back', registry.held]]),
    ...(status.fileProblem === null
      ? []
      : [['file', `the file on disk is NOT IN FORCE: ${oneLine(status.fileProblem)}`]]),
    ['workers', status.workers.map(({ pid, state }) => `${pid} ${state}`).join(', ') || 'NONE'],
  ]);
  section(
    lines,
    'rejected documents',
    ['KEY', 'REVISION', 'IN FORCE', 'ERROR'],
    rejectedRows(registry.rejected),
  );
  section(
    lines,
    'certificates',
    ['IDENTITY', 'ENDS', 'NEXT RENEWAL', 'LAST ERROR'],
    status.identities.map(({ identity, notAfter, nextRenewal, lastError }) => [
      identity,
      notAfter === null ? 'NONE YET' : relative(notAfter, nowMs),
      nextRenewal === null ? 'not by us' : relative(nextRenewal, nowMs),
      lastError ?? '-',
    ]),
  );
  section(
    lines,
    'instances here',
    ['SERVICE', 'ID', 'ADDRESS', 'STATE', 'HEALTH', 'SINCE', 'LAST ERROR'],
    status.instances.map(({ service, id, address, state, health, since, lastError }) => [
      service,
      id,
      address,
      state,
      health,
      relative(since, nowMs),
      lastError ?? '-',
    ]),
  );
  section(
    lines,
    'listeners',
    ['ID', 'KIND', 'ADDRESS', 'ERROR'],
    status.listeners.map(({ id, kind, address, error }) => [
      id,
      kind,
      address,
      // Most begin with the address, which stands before it.
      error === null ? '-' : error.replace(`${address} `, ''),
    ]),
  );
  section(
    lines,
    'nodes',
    ['NODE', 'ADDRESS', 'ZONE', 'VERSION'],
    status.nodes.map(({ name, address, zone, version }) => [name, address, zone, version]),
  );
  return lines;
}

const FROM = { registry: 'the registry', disk: 'the snapshot on disk', none: 'nowhere' } as const;

function section(
  lines: string[],
  title: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): void {
  if (rows.length > 0) lines.push('', title, ...table([head, ...rows], '  '));
}

/** One row for each problem; the first carries the document. */
function rejectedRows(rejected: readonly Rejection[]): string[][] {
  return rejected.flatMap(({ key, revision, using, error }) =>
    error
      .split('\n')
      .map((line, i) =>
        i === 0
          ? [key, String(revision), using === null ? 'nothing' : String(using), line]
          : ['', '', '', line],
      ),
  );
}

export function renderExplanation(explanation: ExplainReport): string[] {
  const { request, considered, destinations, notInForce = [], outcome } = explanation;
  const lines = [
    printable(`${request.method} ${request.host}${request.path} from ${request.source}`),
    '',
    'routes, in the order they are tried',
    ...table(
      considered.map(({ route, matched, why }) => [route, matched ? 'CHOSEN' : 'no', why]),
      '  ',
    ),
  ];
  if (considered.length === 0) lines.push('  none');
  for (const { service, subset, share, authorised, endpoints } of destinations) {
    const name = subset === undefined ? service : `${service}@${subset}`;
    const verdict = authorised.allowed ? 'allowed' : 'DENIED';
    lines.push('', printable(`${formatShare(share)} to ${name}, ${verdict}: ${authorised.why}`));
    if (endpoints.length === 0) {
      lines.push('  no endpoints');
      continue;
    }
    const rows = endpoints.map((endpoint) => [
      endpoint.instance,
      endpoint.node,
      endpoint.address,
      String(endpoint.weight),
      endpoint.usable ? 'yes' : 'no',
      endpoint.why,
    ]);
    lines.push(...table([['INSTANCE', 'NODE', 'ADDRESS', 'WEIGHT', 'USED', 'WHY'], ...rows], '  '));
  }
  section(
    lines,
    'rejected documents, which are not in force as they stand',
    ['KEY', 'REVISION', 'IN FORCE', 'ERROR'],
    rejectedRows(notInForce),
  );
  lines.push('', printable(`outcome: ${outcome}`));
  return lines;
}

/** `95 %`, `33.3 %`. */
function formatShare(percent: number): string {
  return `${Math.round(percent * 10) / 10} %`;
}
