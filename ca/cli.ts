import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { systemClock } from '#kit/clock.ts';
import { EXIT, MeshError, type ExitCode } from '#kit/errors.ts';
import { parseFlags, usageError } from '#kit/flags.ts';
import { nearest } from '#kit/nearest.ts';
import {
  durationFlag,
  noWords,
  readPassphrase,
  readText,
  required,
  socketPath,
} from './cli-flags.ts';
import { INIT_USAGE, SERVE_USAGE, SIGN_USAGE, STATUS_USAGE, TOKEN_USAGE } from './cli-usage.ts';
import { FILES, initAuthority, readAuthority, type AuthorityCertificate } from './directory.ts';
import { parseIdentity } from './identity.ts';
import type { IssuedCertificate } from './issue.ts';
import { countIssued } from './ledger.ts';
import { postLocal } from './local-client.ts';
import { DEFAULT_TOKEN_TTL_MS } from './policy.ts';

const USAGE: Readonly<Record<string, string>> = {
  init: INIT_USAGE,
  serve: SERVE_USAGE,
  sign: SIGN_USAGE,
  token: TOKEN_USAGE,
  status: STATUS_USAGE,
};
const NOT_YET = ['revoke', 'rotate'];

/**
 * `gatemesh ca …` with the words after `ca`.
 *
 * @throws MeshError with its exit code; the caller prints the message
 */
export async function runCa(argv: readonly string[]): Promise<ExitCode> {
  const [name, ...rest] = argv;
  const all = Object.values(USAGE).join('\n\n');
  if (name === '--help' || name === '-h' || name === 'help') return print(all);
  if (name === undefined) {
    throw usageError('gatemesh ca', 'wanted a command; got nothing', all);
  }
  if (NOT_YET.includes(name)) {
    const message = `gatemesh ca ${name}: not supported by this version yet`;
    throw new MeshError('usage', message, { exitCode: EXIT.usage });
  }
  const usage = Object.hasOwn(USAGE, name) ? USAGE[name] : undefined;
  if (usage === undefined) {
    const near = nearest(name, Object.keys(USAGE));
    const hint = near === undefined ? '' : `. Did you mean "${near}"?`;
    throw usageError('gatemesh ca', `unknown command "${name}"${hint}`, all);
  }
  if (rest.includes('--help') || rest.includes('-h')) return print(usage);
  switch (name) {
    case 'init':
      return runInit(rest);
    case 'serve':
      // Imported only when asked for: the other commands need neither the server nor etcd's client.
      return (await import('./cli-serve.ts')).runServe(rest);
    case 'sign':
      return runSign(rest);
    case 'token':
      return runToken(rest);
    default:
      return runStatus(rest);
  }
}

function print(output: string): ExitCode {
  process.stdout.write(output.endsWith('\n') ? output : `${output}\n`);
  return EXIT.done;
}

async function runInit(argv: readonly string[]): Promise<ExitCode> {
  const command = 'gatemesh ca init';
  const options = {
    dir: { type: 'string' },
    'trust-domain': { type: 'string', default: 'mesh.internal' },
    'passphrase-file': { type: 'string' },
  } as const;
  const { values, positionals } = parseFlags(command, argv, options, INIT_USAGE);
  noWords(command, positionals, INIT_USAGE);
  const { roots } = await initAuthority({
    dir: required(values.dir, command, '--dir', INIT_USAGE),
    trustDomain: values['trust-domain'],
    passphrase: await readPassphrase(values['passphrase-file']),
    nowMs: systemClock.wallMs(),
  });
  return print(roots[0]!.fingerprint);
}

async function runSign(argv: readonly string[]): Promise<ExitCode> {
  const command = 'gatemesh ca sign';
  const options = {
    identity: { type: 'string' },
    csr: { type: 'string', default: '-' },
    ttl: { type: 'string' },
    dir: { type: 'string' },
    socket: { type: 'string' },
  } as const;
  const { values, positionals } = parseFlags(command, argv, options, SIGN_USAGE);
  noWords(command, positionals, SIGN_USAGE);
  const socket = socketPath(command, values, SIGN_USAGE);
  const ttlMs = durationFlag(command, '--ttl', values.ttl, SIGN_USAGE);
  const typed = required(values.identity, command, '--identity', SIGN_USAGE);
  const identity = await wholeIdentity(command, typed, values.dir);
  const csr = await readRequestText(values.csr);
  const answer = await postLocal<IssuedCertificate>(socket, '/v1/sign', { identity, csr, ttlMs });
  return print(answer.certPem);
}

/** `svc/web` is completed with the trust domain of the CA in `dir`; over a bare socket the default is meant. */
async function wholeIdentity(
  command: string,
  typed: string,
  dir: string | undefined,
): Promise<string> {
  if (parseIdentity(typed) !== undefined) return typed;
  const trustDomain = dir === undefined ? 'mesh.internal' : (await readAuthority(dir)).trustDomain;
  const whole = `spiffe://${trustDomain}/${typed}`;
  if (parseIdentity(whole) !== undefined) return whole;
  throw usageError(
    command,
    `--identity: wanted svc/<service>, node/<node>, edge/<gateway> or a whole SPIFFE id; got "${typed}"`,
    SIGN_USAGE,
  );
}

async function readRequestText(path: string): Promise<string> {
  if (path === '-') return text(process.stdin);
  return readText(path, '--csr');
}

async function runToken(argv: readonly string[]): Promise<ExitCode> {
  const command = 'gatemesh ca token';
  const options = {
    node: { type: 'string' },
    services: { type: 'string', multiple: true },
    service: { type: 'string', multiple: true },
    gateway: { type: 'string' },
    ttl: { type: 'string' },
    dir: { type: 'string' },
    socket: { type: 'string' },
  } as const;
  const { values, positionals } = parseFlags(command, argv, options, TOKEN_USAGE);
  noWords(command, positionals, TOKEN_USAGE);
  const node = required(values.node, command, '--node', TOKEN_USAGE);
  const lists = [...(values.services ?? []), ...(values.service ?? [])];
  const services = [...new Set(lists.flatMap((list) => list.split(',')))].filter(Boolean);
  const answer = await postLocal<{ readonly token: string }>(
    socketPath(command, values, TOKEN_USAGE),
    '/v1/tokens',
    {
      node: nameFlag(command, '--node', node),
      services: services.map((name) => nameFlag(command, '--services', name)),
      gateway:
        values.gateway === undefined ? undefined : nameFlag(command, '--gateway', values.gateway),
      ttlMs: durationFlag(command, '--ttl', values.ttl, TOKEN_USAGE) ?? DEFAULT_TOKEN_TTL_MS,
    },
  );
  return print(answer.token);
}

function nameFlag(command: string, flag: string, name: string): string {
  if (parseIdentity(`spiffe://x/node/${name}`) !== undefined) return name;
  const wish = 'a name of up to 63 lower-case letters, digits, "-" and "."';
  throw usageError(command, `${flag}: wanted ${wish}; got "${name}"`, TOKEN_USAGE);
}

async function runStatus(argv: readonly string[]): Promise<ExitCode> {
  const command = 'gatemesh ca status';
  const options = { dir: { type: 'string' }, json: { type: 'boolean', default: false } } as const;
  const { values, positionals } = parseFlags(command, argv, options, STATUS_USAGE);
  noWords(command, positionals, STATUS_USAGE);
  const dir = required(values.dir, command, '--dir', STATUS_USAGE);
  const { trustDomain, roots, issuer } = await readAuthority(dir);
  const issued = await countIssued(join(dir, FILES.ledger), systemClock.wallMs());
  const status = {
    trustDomain,
    /** What `identity.caFingerprint` is set to. */
    fingerprint: roots[0]!.fingerprint,
    roots: roots.map(endsOf),
    issuers: [endsOf(issuer)],
    issued,
  };
  if (values.json) return print(JSON.stringify(status, null, 2));
  const lines = [
    `trust domain  ${trustDomain}`,
    ...status.roots.map((root) => `root          ${root.fingerprint}  ends ${root.notAfter}`),
    ...status.issuers.map((one) => `issuer        ${one.fingerprint}  ends ${one.notAfter}`),
    `issued        ${issued} certificates`,
  ];
  return print(lines.join('\n'));
}

function endsOf({ id, fingerprint, notBeforeMs, notAfterMs }: AuthorityCertificate) {
  return {
    id,
    fingerprint,
    notBefore: new Date(notBeforeMs).toISOString(),
    notAfter: new Date(notAfterMs).toISOString(),
  };
}
