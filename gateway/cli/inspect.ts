import { EXIT, type ExitCode } from '#kit/errors.ts';
import type { ExplainReport, StatusReport } from '../admin/source.ts';
import { ADMIN_FLAGS, ADMIN_USAGE, adminAt, askAdmin } from './admin-client.ts';
import { parseFlags, usageError } from '#kit/flags.ts';
import { judge } from './check.ts';
import { renderCheck, renderExplanation, renderStatus } from './render.ts';

/** Where a command prints to and what it is set by; a test gives its own. */
export interface Io {
  readonly out: (text: string) => void;
  readonly env: NodeJS.ProcessEnv;
}

const PROCESS_IO: Io = { out: (text) => process.stdout.write(text), env: process.env };

const EXPLAIN_USAGE = `\
gatemesh explain [METHOD] URL [--from SERVICE] [-H 'name: value']... [--gateway GATEWAY]
where this request would go and why, from the live tables of this node
  --from SERVICE     the caller; default this node itself
  -H 'name: value'   a header of the request; may be repeated
  --gateway GATEWAY  it arrives from outside at this edge gateway; default it is made here
${ADMIN_USAGE}`;

const STATUS_USAGE = `\
gatemesh status [--json]
what this node is, has and knows
${ADMIN_USAGE}`;

const CHECK_USAGE = `\
gatemesh check [--json]
OK, WARN or FAIL for everything this node needs, with what to do; exits 1 when something fails
${ADMIN_USAGE}`;

const EXPLAIN_FLAGS = {
  ...ADMIN_FLAGS,
  from: { type: 'string' },
  gateway: { type: 'string' },
  header: { type: 'string', short: 'H', multiple: true },
} as const;

/** `gatemesh explain`: answers within 5 s; exit code 0 also when the request would fail. */
export async function runExplain(argv: readonly string[], io = PROCESS_IO): Promise<ExitCode> {
  const command = 'gatemesh explain';
  const { values, positionals } = parseFlags(command, argv, EXPLAIN_FLAGS, EXPLAIN_USAGE);
  if (values.help === true) return print(io, [`usage: ${EXPLAIN_USAGE}`]);
  const [first, second, ...more] = positionals;
  if (first === undefined || more.length > 0) {
    const got = first === undefined ? 'nothing' : `${positionals.length} words`;
    throw usageError(command, `wanted [METHOD] URL; got ${got}`, EXPLAIN_USAGE);
  }
  const [method, url] = second === undefined ? ['GET', first] : [first.toUpperCase(), second];
  const query = new URLSearchParams({ method, url: withScheme(url) });
  if (values.from !== undefined) query.set('from', values.from);
  if (values.gateway !== undefined) query.set('gateway', values.gateway);
  for (const header of values.header ?? []) query.append('h', header);

  const answer = await askAdmin(
    adminAt(command, values, io.env, EXPLAIN_USAGE),
    `/explain?${query.toString()}`,
  );
  if (values.json === true) return printJson(io, answer);
  return print(io, renderExplanation(answer as ExplainReport));
}

/** `orders.mesh/x` is typed as often as it is meant to be http. */
function withScheme(url: string): string {
  return url.startsWith('/') || url.includes('://') ? url : `http://${url}`;
}

/** `gatemesh status`: answers within 5 s. */
export async function runStatus(argv: readonly string[], io = PROCESS_IO): Promise<ExitCode> {
  const flags = readFlags('gatemesh status', argv, STATUS_USAGE);
  if (flags.help === true) return print(io, [`usage: ${STATUS_USAGE}`]);
  const answer = await askAdmin(adminAt('gatemesh status', flags, io.env, STATUS_USAGE), '/status');
  if (flags.json === true) return printJson(io, answer);
  return print(io, renderStatus(answer as StatusReport, Date.now()));
}

/** `gatemesh check`: answers within 5 s; exit code 1 when a finding is FAIL. */
export async function runCheck(argv: readonly string[], io = PROCESS_IO): Promise<ExitCode> {
  const flags = readFlags('gatemesh check', argv, CHECK_USAGE);
  if (flags.help === true) return print(io, [`usage: ${CHECK_USAGE}`]);
  const answer = await askAdmin(adminAt('gatemesh check', flags, io.env, CHECK_USAGE), '/status');
  const findings = judge(answer as StatusReport, Date.now());
  const ok = findings.every(({ level }) => level !== 'FAIL');
  if (flags.json === true) printJson(io, { ok, findings });
  else print(io, renderCheck(findings));
  return ok ? EXIT.done : EXIT.failed;
}

function readFlags(command: string, argv: readonly string[], usage: string) {
  const { values, positionals } = parseFlags(command, argv, ADMIN_FLAGS, usage);
  if (positionals.length > 0) {
    throw usageError(command, `wanted flags only; got "${positionals[0]}"`, usage);
  }
  return values;
}

function print(io: Io, lines: readonly string[]): ExitCode {
  io.out(`${lines.join('\n')}\n`);
  return EXIT.done;
}

function printJson(io: Io, value: unknown): ExitCode {
  return print(io, [JSON.stringify(value, null, 2)]);
}
