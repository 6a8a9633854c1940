import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Stand } from '../stand.ts';

export interface PeerCertificates {
  readonly ca: string;
  /** Paths without ending: `.crt`, `.key`, and `.pem` with both. */
  readonly a: string;
  readonly b: string;
}

/** P-256, as in the mesh, for two gateways that are not ours. */
export async function makeCertificates({ bed }: Stand): Promise<PeerCertificates> {
  const openssl = (...args: readonly string[]): void => {
    execFileSync('openssl', args, { cwd: bed.folder, stdio: ['ignore', 'ignore', 'pipe'] });
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout'];
  openssl('req', '-x509', ...key, 'ca.key', '-subj', '/CN=ca', '-days', '2', '-out', 'ca.crt');
  const [a, b] = ['a', 'b'].map((name) => {
    openssl('req', ...key, `${name}.key`, '-subj', `/CN=${name}`, '-out', `${name}.csr`);
    const names = bed.file(`${name}.ext`, `subjectAltName=DNS:${name}.mesh,IP:127.0.0.1`);
    const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
    const files = ['-in', `${name}.csr`, '-extfile', names, '-out', `${name}.crt`];
    openssl('x509', '-req', ...files, ...signed);
    const path = join(bed.folder, name);
    bed.file(
      `${name}.pem`,
      readFileSync(`${path}.crt`, 'utf8') + readFileSync(`${path}.key`, 'utf8'),
    );
    return path;
  });
  return { ca: join(bed.folder, 'ca.crt'), a: a!, b: b! };
}
