import { randomBytes, X509Certificate } from 'node:crypto';
import {
  access,
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  rmdir,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import { fromPem, toPem } from './pem.ts';
import { issuerCertificate, rootCertificate, type Issuer } from './profile.ts';
import { generateSigner, openSigner } from './signer.ts';
import { fingerprint, readCertificate } from './x509.ts';

/** The folder of an authority. The root's key is needed for a new issuer only and may be kept elsewhere. */
export const FILES = {
  rootCertificate: 'root.crt',
  rootKey: 'root.key',
  issuerCertificate: 'issuer.crt',
  issuerKey: 'issuer.key',
  ledger: 'issued.jsonl',
  enrolments: 'enrolments.json',
  /** Tokens, when no registry is named. */
  registry: 'registry.db',
  socket: 'admin.sock',
} as const;

/** One certificate of the authority itself, as people see it. */
export interface AuthorityCertificate {
  /** First 16 hex digits of the fingerprint: the key under `ca/roots/` or `ca/issuers/`. */
  readonly id: string;
  readonly pem: string;
  /** `sha256:<hex>` of the DER. */
  readonly fingerprint: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** The public half of an authority's folder. */
export interface AuthorityDirectory {
  readonly dir: string;
  readonly trustDomain: string;
  /** The root this issuer is under comes first. */
  readonly roots: readonly AuthorityCertificate[];
  readonly issuer: AuthorityCertificate;
}

const TRUST_DOMAIN = /^[a-z0-9](?:[-a-z0-9._]{0,178}[a-z0-9])?$/;

/** @throws MeshError `trust_domain_invalid` */
export function checkTrustDomain(trustDomain: string): void {
  if (TRUST_DOMAIN.test(trustDomain)) return;
  throw new MeshError(
    'trust_domain_invalid',
    `trust domain: wanted a lower-case name such as "mesh.internal" of at most 180 characters, got "${trustDomain}"`,
    { exitCode: EXIT.usage },
  );
}

/**
 * Makes root and issuer in a folder beside `dir` and moves it into place: `dir` is whole or not there.
 *
 * @param passphrase encrypts both keys
 * @throws MeshError `ca_exists` when there is anything at `dir`
 */
export async function initAuthority(options: {
  readonly dir: string;
  readonly trustDomain: string;
  readonly passphrase: string | undefined;
  readonly nowMs: number;
}): Promise<AuthorityDirectory> {
  const { trustDomain, passphrase, nowMs } = options;
  checkTrustDomain(trustDomain);
  const dir = resolve(options.dir);
  await refuseOccupied(dir);
  const parent = dirname(dir);
  let temporary: string;
  try {
    await mkdir(parent, { recursive: true });
    temporary = await mkdtemp(join(parent, `.${basename(dir)}.`));
  } catch (cause) {
    throw new MeshError(
      'ca_dir_unwritable',
      `cannot make ${dir}: ${messageOf(cause)}. The folder ${parent} must be writable`,
      { cause },
    );
  }
  try {
    await chmod(temporary, 0o700);
    await writeAuthority(temporary, trustDomain, passphrase, nowMs);
    await rename(temporary, dir);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Somebody else's init came first.
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') throw occupied(dir);
    throw error;
  }
  return readAuthority(dir);
}

async function refuseOccupied(dir: string): Promise<void> {
  try {
    // An empty folder is what a package or a unit file leaves there.
    await rmdir(dir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR') throw occupied(dir);
    throw new MeshError('ca_dir_unwritable', `cannot make ${dir}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function occupied(dir: string): MeshError {
  return new MeshError(
    'ca_exists',
    `${dir} is there already and nothing was changed: choose another --dir, or move it away first (certificates signed with it end with its keys)`,
  );
}

async function writeAuthority(
  dir: string,
  trustDomain: string,
  passphrase: string | undefined,
  nowMs: number,
): Promise<void> {
  const rootKey = generateSigner(passphrase);
  const rootId = randomBytes(4).toString('hex');
  const rootDer = rootCertificate(trustDomain, rootId, rootKey.signer, nowMs);
  const root = issuerFrom(rootDer, rootKey.signer);
  const issuerKey = generateSigner(passphrase);
  const issuerId = randomBytes(4).toString('hex');
  const issuerDer = issuerCertificate(trustDomain, issuerId, issuerKey.signer.spki, root, nowMs);
  const files: readonly (readonly [name: string, content: string, mode: number])[] = [
    [FILES.rootCertificate, toPem('CERTIFICATE', rootDer), 0o644],
    [FILES.rootKey, rootKey.pem, 0o600],
    [FILES.issuerCertificate, toPem('CERTIFICATE', issuerDer), 0o644],
    [FILES.issuerKey, issuerKey.pem, 0o600],
  ];
  for (const [name, content, mode] of files) {
    await writeFile(join(dir, name), content, { mode, flag: 'wx', flush: true });
  }
}

function issuerFrom(der: Buffer, signer: Issuer['signer']): Issuer {
  const { subject, notAfterMs } = readCertificate(der);
  return { name: subject, signer, notAfterMs };
}

/**
 * Reads the public half. Checks that issuer and root belong together, so that a mixed-up restore is noticed
 * here and not in every handshake.
 *
 * @throws MeshError `ca_missing`, `ca_damaged`
 */
export async function readAuthority(dir: string): Promise<AuthorityDirectory> {
  const roots = (await readCertificates(dir, FILES.rootCertificate)).map(describe);
  const [issuerDer] = await readCertificates(dir, FILES.issuerCertificate);
  const uri = readCertificate(issuerDer!).subjectAltName?.uris[0] ?? '';
  const trustDomain = uri.replace(/^spiffe:\/\//, '');
  const issuer = new X509Certificate(issuerDer!);
  const root = new X509Certificate(roots[0]!.pem);
  if (!issuer.checkIssued(root) || !issuer.verify(root.publicKey)) {
    throw new MeshError(
      'ca_damaged',
      `${join(dir, FILES.issuerCertificate)} is not signed by the first root in ${FILES.rootCertificate}: restore both from the same copy`,
    );
  }
  return { dir, trustDomain, roots, issuer: describe(issuerDer!) };
}

/** Opens the issuer's key. @throws MeshError `ca_key_unreadable`, `ca_damaged` */
export async function openIssuer(
  directory: AuthorityDirectory,
  passphrase: string | undefined,
): Promise<Issuer> {
  const path = join(directory.dir, FILES.issuerKey);
  let pem: string;
  try {
    pem = await readFile(path, 'utf8');
  } catch (cause) {
    throw new MeshError('ca_key_unreadable', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
  const signer = openSigner(pem, passphrase, path);
  const [der] = fromPem('CERTIFICATE', directory.issuer.pem, FILES.issuerCertificate);
  if (!readCertificate(der!).spki.equals(signer.spki)) {
    throw new MeshError(
      'ca_damaged',
      `${path} is not the key of ${FILES.issuerCertificate}: restore both from the same copy`,
    );
  }
  return issuerFrom(der!, signer);
}

async function readCertificates(dir: string, name: string): Promise<readonly Buffer[]> {
  const path = join(dir, name);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const remedy = missing
      ? `there is no authority in ${dir}. To make one: gatemesh ca init --dir ${dir}`
      : `cannot read ${path}: ${messageOf(cause)}`;
    throw new MeshError(missing ? 'ca_missing' : 'ca_unreadable', remedy, { cause });
  }
  try {
    const found = fromPem('CERTIFICATE', text, path);
    for (const der of found) readCertificate(der);
    return found;
  } catch (cause) {
    throw new MeshError('ca_damaged', `${path}: ${messageOf(cause)}`, { cause });
  }
}

function describe(der: Buffer): AuthorityCertificate {
  const { notBeforeMs, notAfterMs } = readCertificate(der);
  const print = fingerprint(der);
  return {
    id: print.slice('sha256:'.length, 'sha256:'.length + 16),
    pem: toPem('CERTIFICATE', der),
    fingerprint: print,
    notBeforeMs,
    notAfterMs,
  };
}

/** True when there is an authority in `dir`. */
export async function authorityExists(dir: string): Promise<boolean> {
  try {
    await access(join(dir, FILES.issuerCertificate));
    return true;
  } catch {
    return false;
  }
}
