import type { IdentityReport, InstanceReport, StatusReport } from '../admin/source.ts';
import { adviceOnReference } from '../../registry/documents/references.ts';
import { oneLine, relative, roughly } from './format.ts';

export type Level = 'OK' | 'WARN' | 'FAIL';

/** One line of `gatemesh check`. */
export interface Finding {
  readonly level: Level;
  /** What was looked at: `registry`, `certificate spiffe://…`. */
  readonly what: string;
  readonly found: string;
  /** What to do about it; absent when all is well. */
  readonly todo?: string;
}

/** A certificate renews at half its life; with a quarter left, renewal has been failing for a while. */
const LEAST_LIFE = 0.25;

/** Everything that is right and wrong with a node, from its own report. */
export function judge(status: StatusReport, nowMs: number): Finding[] {
  return [
    ...fileFindings(status),
    registryFinding(status),
    tablesFinding(status),
    ...heldFindings(status),
    ...rejectedFindings(status),
    ...certificateFindings(status, nowMs),
    ...workerFindings(status),
    ...status.listeners.map(({ id, address, error }): Finding =>
      error === null
        ? { level: 'OK', what: `listener ${id}`, found: address }
        : {
            level: 'FAIL',
            what: `listener ${id}`,
            found: error.startsWith(address) ? error : `${address}: ${error}`,
            todo: 'free the address or correct it; see the log',
          },
    ),
    ...status.instances.map((instance) => instanceFinding(instance, nowMs)),
    ...drainingFindings(status),
  ];
}

function fileFindings({ fileProblem }: StatusReport): Finding[] {
  if (fileProblem === null) return [];
  const found = `the file on disk is not in force: ${oneLine(fileProblem)}`;
  const todo =
    'correct it ("gatemesh gateway --config FILE --check" tells), then "systemctl reload gatemesh"';
  return [{ level: 'FAIL', what: 'gateway file', found, todo }];
}

function registryFinding({ registry }: StatusReport): Finding {
  const { name, connected, staleSeconds } = registry;
  const what = 'registry';
  const age = staleSeconds === null ? 'never since the start' : `${roughly(staleSeconds)} ago`;
  if (connected) return { level: 'OK', what, found: `connected to ${name}, current ${age}` };
  return {
    level: 'FAIL',
    what,
    found: `not connected to ${name}; last current ${age}`,
    todo: 'traffic goes on with the last tables; check that the registry runs and that this VM may reach it',
  };
}

function tablesFinding({ registry }: StatusReport): Finding {
  const { source, revision, applied } = registry;
  const what = 'tables';
  if (source === 'none') {
    return {
      level: 'FAIL',
      what,
      found: 'none: neither the registry nor a snapshot on disk gave any',
      todo: 'bring the registry back; nothing can be routed until then',
    };
  }
  if (source === 'disk') {
    const found = `revision ${applied}, from the snapshot on disk`;
    return {
      level: 'WARN',
      what,
      found,
      todo: 'they are replaced as soon as the registry is back',
    };
  }
  if (applied < revision) {
    const found = `revision ${applied} in force, ${revision} seen`;
    const todo = 'ask again; if it stays so, a worker is stuck: see workers and the log';
    return { level: 'WARN', what, found, todo };
  }
  return { level: 'OK', what, found: `revision ${applied}` };
}

function heldFindings({ registry }: StatusReport): Finding[] {
  if (registry.held === null) return [];
  const todo = 'look at what is in the registry; put back what is missing';
  return [{ level: 'FAIL', what: 'resync held back', found: registry.held, todo }];
}

function rejectedFindings({ registry }: StatusReport): Finding[] {
  if (registry.rejected.length === 0) {
    return [{ level: 'OK', what: 'documents', found: 'all in force' }];
  }
  return registry.rejected.map(({ key, revision, path, error, hint, using }): Finding => {
    const kept = using === null ? 'nothing of it is in force' : `revision ${using} stays in force`;
    // Documents may come in any order: more often the other one is still to be written than this one wrong.
    const advice = error.split('\n').flatMap((line) => adviceOnReference(line) ?? []);
    const near = hint === undefined ? '' : ` (did you mean "${hint}"?)`;
    return {
      level: 'FAIL',
      what: `document ${key}`,
      found: `revision ${revision} rejected; ${kept}: ${oneLine(error)}`,
      todo: advice.length > 0 ? advice.join('; ') : `correct ${path}${near} and put it again`,
    };
  });
}

function certificateFindings(status: StatusReport, nowMs: number): Finding[] {
  if (status.identities.length > 0) {
    return status.identities.map((report) => {
      const { notBefore, notAfter } = report;
      return notBefore === null || notAfter === null
        ? missingFinding(report, status)
        : certificateFinding({ ...report, notBefore, notAfter }, nowMs);
    });
  }
  return [
    {
      level: 'FAIL',
      what: 'certificates',
      found: 'none yet',
      todo: 'the node has not enrolled: see the log, and "identity" in the gateway file (CA, fingerprint, token)',
    },
  ];
}

function missingFinding(report: IdentityReport, status: StatusReport): Finding {
  const { identity, nextRenewal, lastError } = report;
  const what = `certificate ${identity}`;
  if (lastError === null) {
    const todo = 'ask again: a gateway that starts has it within seconds';
    return { level: 'WARN', what, found: 'none yet', todo };
  }
  const todo =
    nextRenewal === null
      ? 'nothing here asks for it: put one for it in the place of identity.certFile'
      : /token|refused/.test(lastError)
        ? `on the CA host run "${tokenCommand(status)}", and put what it prints into identity.tokenFile of this node`
        : 'it is tried again; check that the CA runs and that this VM may reach it';
  return { level: 'FAIL', what, found: `none yet: ${oneLine(lastError)}`, todo };
}

/** A token covers everything a node is, so this names all that is wanted here. */
function tokenCommand({ node, gateway, identities }: StatusReport): string {
  const services = identities.flatMap(({ identity }) => /\/svc\/(.+)$/.exec(identity)?.[1] ?? []);
  return [
    `gatemesh ca token --node ${node}`,
    ...(services.length === 0 ? [] : [`--services ${services.join(',')}`]),
    ...(gateway === null ? [] : [`--gateway ${gateway}`]),
    '--dir DIR',
  ].join(' ');
}

interface HeldReport extends IdentityReport {
  readonly notBefore: string;
  readonly notAfter: string;
}

function certificateFinding(report: HeldReport, nowMs: number): Finding {
  const { identity, notBefore, notAfter, nextRenewal, lastError } = report;
  const what = `certificate ${identity}`;
  const end = Date.parse(notAfter);
  const left = (end - nowMs) / (end - Date.parse(notBefore));
  const because = lastError === null ? '' : `; last renewal failed: ${lastError}`;
  if (left <= 0) {
    const found = `expired ${relative(notAfter, nowMs)}${because}`;
    return {
      level: 'FAIL',
      what,
      found,
      todo: 'peers refuse it; bring the CA back, or enrol anew',
    };
  }
  const percent = Math.floor(left * 100);
  const found = `${percent} % of its life left, ends ${relative(notAfter, nowMs)}${because}`;
  if (left < LEAST_LIFE) {
    const todo =
      nextRenewal === null
        ? 'nothing here renews it: put a new one in its place'
        : 'it should have been renewed by now; check that the CA runs and that this VM may reach it';
    return { level: 'FAIL', what, found, todo };
  }
  if (lastError === null) return { level: 'OK', what, found };
  return { level: 'WARN', what, found, todo: 'it is tried again; check the CA if this stays' };
}

function workerFindings({ workers }: StatusReport): Finding[] {
  if (workers.length === 0) {
    return [{ level: 'FAIL', what: 'workers', found: 'none', todo: 'see the log of the gateway' }];
  }
  return workers.map(({ pid, state }): Finding => {
    const what = `worker ${pid}`;
    if (state === 'down') {
      return {
        level: 'FAIL',
        what,
        found: state,
        todo: 'it is started again; see the log for why it ended',
      };
    }
    if (state === 'starting') return { level: 'WARN', what, found: state, todo: 'ask again' };
    return { level: 'OK', what, found: state };
  });
}

function instanceFinding(instance: InstanceReport, nowMs: number): Finding {
  const { service, id, address, state, health, since, lastError } = instance;
  const what = `instance ${service}/${id}`;
  const found = `${address} ${state}, ${health} since ${relative(since, nowMs)}`;
  if (health === 'failing') {
    const why = lastError === null ? '' : `: ${lastError}`;
    const todo = 'it gets no requests; start it, or correct the check in its services.d file';
    return { level: 'FAIL', what, found: found + why, todo };
  }
  if (health === 'unknown') {
    return { level: 'WARN', what, found, todo: 'no check has succeeded yet: it gets no requests' };
  }
  if (state === 'ready') return { level: 'OK', what, found };
  return { level: 'WARN', what, found, todo: 'it gets no new requests' };
}

function drainingFindings({ draining }: StatusReport): Finding[] {
  if (!draining) return [];
  return [{ level: 'WARN', what: 'node', found: 'draining', todo: 'it takes no new requests' }];
}
