import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Issued {
  readonly cert: string;
  readonly key: string;
}

/** A root made by openssl, and leaves under it with the names given: certificates that are not our own CA's work. */
export interface OpensslPki {
  readonly ca: string;
  /** `subjectAltName` as openssl writes it: `URI:spiffe://…,DNS:…`. */
  issue(subjectAltName: string): Issued;
}

export function opensslPki(): OpensslPki {
  return inDirectory((dir) => {
    const run = (args: string) =>
      execFileSync('openssl', args.split(' '), { cwd: dir, stdio: 'pipe' });
    run(`req -x509 ${NEW_KEY} -keyout ca.key -out ca.crt -days 1 -subj /CN=root`);
    const ca = readFileSync(join(dir, 'ca.crt'), 'utf8');
    const caKey = readFileSync(join(dir, 'ca.key'), 'utf8');
    return { ca, issue: (subjectAltName) => issue(ca, caKey, subjectAltName) };
  });
}

const NEW_KEY = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';

function issue(ca: string, caKey: string, subjectAltName: string): Issued {
  return inDirectory((dir) => {
    writeFileSync(join(dir, 'ca.crt'), ca);
    writeFileSync(join(dir, 'ca.key'), caKey);
    writeFileSync(
      join(dir, 'ext'),
      `subjectAltName=${subjectAltName}\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n`,
    );
    const run = (args: string) =>
      execFileSync('openssl', args.split(' '), { cwd: dir, stdio: 'pipe' });
    run(`req ${NEW_KEY} -keyout leaf.key -out leaf.csr -subj /CN=leaf`);
    run(
      'x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 -extfile ext -out leaf.crt',
    );
    const [cert, key] = ['leaf.crt', 'leaf.key'].map((name) =>
      readFileSync(join(dir, name), 'utf8'),
    );
    return { cert: cert!, key: key! };
  });
}

function inDirectory<T>(work: (dir: string) => T): T {
  const dir = mkdtempSync(join(tmpdir(), 'gatemesh-pki-'));
  try {
    return work(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
