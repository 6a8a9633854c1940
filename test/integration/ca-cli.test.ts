import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import { runCa } from '../../ca/cli.ts';
import { CaClient } from '../../ca/client.ts';
import { encodeRequest } from '../../ca/certificate.ts';
import { toPem } from '../../ca/pem.ts';
import { generateSigner } from '../../ca/signer.ts';
import { identity, lastFirst, temporaryFolder, TRUST_DOMAIN } from '../support/ca.ts';
import { eventually } from '../support/eventually.ts';

const RUN = join(import.meta.dirname, '../support/run-ca.ts');

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function ca(args: readonly string[], input = ''): Promise<Ended> {
  const child = spawn(process.execPath, [RUN, ...args], { timeout: 15_000 });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number]>,
  ]);
  return { code, stdout, stderr };
}

/** `ca init` in a folder of its own. */
async function made(t: TestContext, ...args: readonly string[]) {
  const after = lastFirst(t);
  const folder = await temporaryFolder(after);
  const dir = join(folder, 'ca');
  const ended = await ca(['init', '--dir', dir, '--trust-domain', TRUST_DOMAIN, ...args]);
  assert.equal(ended.code, 0, ended.stderr);
  return { after, folder, dir, fingerprint: ended.stdout.trim() };
}

async function serving(t: TestContext, ...args: readonly string[]) {
  const world = await made(t);
  const child = spawn(process.execPath, [
    RUN,
    ...['serve', '--dir', world.dir, '--listen', '127.0.0.1:0', ...args],
  ]);
  world.after(() => stop(child));
  let log = '';
  child.stdout.on('data', (chunk) => (log += chunk));
  child.stderr.on('data', (chunk) => (log += chunk));
  const ready = await eventually(() => {
    assert.equal(child.exitCode, null, log);
    const line = log.split('\n').find((one) => one.includes('the CA is ready'));
    assert.ok(line !== undefined, log);
    return JSON.parse(line) as { listen: string };
  }, 10_000);
  return { ...world, child, url: `https://${ready.listen}`, log: () => log };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await closed;
  clearTimeout(killer);
}

const csr = (): string => toPem('CERTIFICATE REQUEST', encodeRequest(generateSigner().signer));

describe('gatemesh ca init', () => {
  it('makes root and issuer, and prints the fingerprint OpenSSL computes', async (t) => {
    const { dir, fingerprint } = await made(t);
    const printed = execFileSync('openssl', [
      ...['x509', '-noout', '-fingerprint', '-sha256', '-in', join(dir, 'root.crt')],
    ]).toString();
    const hex = printed.split('=')[1]!.trim().replaceAll(':', '').toLowerCase();
    assert.equal(fingerprint, `sha256:${hex}`);
    assert.equal((await stat(dir)).mode & 0o777, 0o700);
    assert.equal((await stat(join(dir, 'root.key'))).mode & 0o777, 0o600);
    assert.equal((await stat(join(dir, 'issuer.key'))).mode & 0o777, 0o600);
  });

  it('fills an empty folder, and leaves one with anything in it alone', async (t) => {
    const { folder, dir } = await made(t);
    const before = await readFile(join(dir, 'root.key'));
    const again = await ca(['init', '--dir', dir]);
    assert.deepEqual(again, {
      code: 1,
      stdout: '',
      stderr: `gatemesh: ${dir} is there already and nothing was changed: choose another --dir, or move it away first (certificates signed with it end with its keys)\n`,
    });
    assert.deepEqual(await readFile(join(dir, 'root.key')), before);
    const empty = join(folder, 'empty');
    await mkdir(empty);
    assert.equal((await ca(['init', '--dir', empty])).code, 0);
    // Nothing of the temporary folders is left beside them.
    assert.deepEqual((await readdir(folder)).toSorted(), ['ca', 'empty']);
  });

  it('encrypts both keys with a passphrase, without which they do not open', async (t) => {
    const folder = await temporaryFolder(lastFirst(t));
    const [passphrase, wrong] = [join(folder, 'passphrase'), join(folder, 'wrong')];
    await writeFile(passphrase, 'correct horse\n');
    await writeFile(wrong, 'battery staple\n');
    const { dir } = await made(t, '--passphrase-file', passphrase);
    for (const name of ['root.key', 'issuer.key']) {
      assert.match(
        await readFile(join(dir, name), 'utf8'),
        /^-----BEGIN ENCRYPTED PRIVATE KEY-----/,
      );
    }
    const serve = ['serve', '--dir', dir, '--listen', '127.0.0.1:0'];
    const without = await ca(serve);
    assert.equal(without.code, 1);
    assert.equal(
      without.stderr,
      `gatemesh: ${dir}/issuer.key is encrypted: give the file that holds its passphrase with --passphrase-file\n`,
    );
    const mistaken = await ca([...serve, '--passphrase-file', wrong]);
    assert.equal(
      mistaken.stderr,
      `gatemesh: ${dir}/issuer.key does not open with the passphrase that was given\n`,
    );
  });
});

describe('gatemesh ca serve, sign, token, status', () => {
  it('signs a request from a file and from standard input', async (t) => {
    const { dir, folder } = await serving(t);
    const file = join(folder, 'web.csr');
    await writeFile(file, csr());
    const fromFile = await ca(['sign', '--identity', 'svc/web', '--dir', dir, '--csr', file]);
    assert.equal(fromFile.code, 0, fromFile.stderr);
    const fromInput = await ca(
      ['sign', '--identity', `spiffe://${TRUST_DOMAIN}/node/vm-a`, '--dir', dir, '--ttl', '1h'],
      csr(),
    );
    assert.equal(fromInput.code, 0, fromInput.stderr);
    for (const [{ stdout }, uri] of [
      [fromFile, 'svc/web'],
      [fromInput, 'node/vm-a'],
    ] as const) {
      const [leaf, issuer] = stdout.split(/(?<=-----END CERTIFICATE-----\n)/);
      await writeFile(join(folder, 'leaf.pem'), leaf!);
      await writeFile(join(folder, 'issuer.pem'), issuer!);
      const verified = execFileSync('openssl', [
        ...['verify', '-x509_strict', '-CAfile', join(dir, 'root.crt')],
        ...['-untrusted', join(folder, 'issuer.pem'), join(folder, 'leaf.pem')],
      ]).toString();
      assert.match(verified, /leaf.pem: OK/);
      const shown = execFileSync('openssl', ['x509', '-noout', '-text'], { input: leaf! });
      assert.ok(shown.includes(`URI:spiffe://${TRUST_DOMAIN}/${uri}`));
    }
    const status = await ca(['status', '--dir', dir, '--json']);
    assert.equal(JSON.parse(status.stdout).issued, 2);
  });

  it('prints a token that is the one string a node needs to join', async (t) => {
    const { dir, url, log } = await serving(t, '--leaf-ttl', '1h');
    const args = ['token', '--node', 'vm-a', '--services', 'web,orders', '--service', 'cron'];
    const { code, stdout, stderr } = await ca([...args, '--gateway', 'public', '--dir', dir]);
    assert.equal(code, 0, stderr);
    const wanted = [
      identity('node', 'vm-a'),
      ...['web', 'orders', 'cron'].map((name) => identity('svc', name)),
      identity('edge', 'public'),
    ];
    const client = new CaClient({ url, fingerprint: undefined });
    const { svids, refused } = await client.enrol(wanted, stdout);
    assert.equal(svids.length, 5);
    assert.deepEqual(refused, []);
    // Neither the log nor the book knows the secret.
    const secret = stdout.split('.')[2]!;
    assert.ok(!log().includes(secret));
    for (const name of ['issued.jsonl', 'registry.db', 'enrolments.json']) {
      assert.ok(!(await readFile(join(dir, name))).includes(secret), name);
    }
  });

  it('keeps what it knows over a restart, and stops at SIGTERM with 0', async (t) => {
    const { dir, child, url, after } = await serving(t);
    const { stdout: token } = await ca(['token', '--node', 'vm-a', '--dir', dir]);
    const closed = once(child, 'close');
    child.kill('SIGTERM');
    assert.deepEqual(await closed, [0, null]);
    const listen = url.slice('https://'.length);
    const again = spawn(process.execPath, [RUN, 'serve', '--dir', dir, '--listen', listen]);
    after(() => stop(again));
    const client = new CaClient({ url, fingerprint: undefined });
    const { svids } = await eventually(
      () => client.enrol([identity('node', 'vm-a')], token),
      10_000,
    );
    assert.equal(svids.length, 1);
  });

  it('lets its owner and group alone use the socket', async (t) => {
    const { dir } = await serving(t);
    assert.equal((await stat(join(dir, 'admin.sock'))).mode & 0o777, 0o660);
  });

  it('does not push a running one from its socket', async (t) => {
    const { dir } = await serving(t);
    const second = await ca(['serve', '--dir', dir, '--listen', '127.0.0.1:0']);
    assert.equal(second.code, 1);
    assert.match(
      second.stderr,
      /another CA answers on .*admin.sock already: stop it, or choose another with --socket\n$/,
    );
    const signed = await ca(['sign', '--identity', 'svc/web', '--dir', dir], csr());
    assert.equal(signed.code, 0, signed.stderr);
  });

  it('says which port is in use', async (t) => {
    const { dir } = await made(t);
    const taken = createServer();
    taken.listen(0, '127.0.0.1');
    await once(taken, 'listening');
    t.after(() => void taken.close());
    const listen = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
    const ended = await ca(['serve', '--dir', dir, '--listen', listen]);
    assert.equal(ended.code, 1);
    assert.equal(
      ended.stderr,
      `gatemesh: the CA cannot listen on ${listen}: the port is in use by another process. Free it, or choose another with --listen\n`,
    );
  });

  it('takes a life outside its limits for bad usage', async (t) => {
    const { dir } = await serving(t);
    const ended = await ca(['token', '--node', 'vm-a', '--ttl', '99d', '--dir', dir]);
    assert.deepEqual(ended, {
      code: 64,
      stdout: '',
      stderr: 'gatemesh: a token lives from 1s to 24h\n',
    });
  });

  it('prints what it refuses to sign, and why', async (t) => {
    const { dir } = await serving(t);
    const ended = await ca(['sign', '--identity', 'svc/web', '--dir', dir], 'hello');
    assert.deepEqual(ended, {
      code: 1,
      stdout: '',
      stderr:
        'gatemesh: certificate request: wanted PEM with "-----BEGIN CERTIFICATE REQUEST-----", got none\n',
    });
  });
});

describe('gatemesh ca with a wrong command line', () => {
  const rows: readonly (readonly [name: string, args: string, code: number, message: RegExp])[] = [
    ['no command', '', 64, /^gatemesh ca: wanted a command; got nothing\n/],
    ['a near miss', 'sing', 64, /^gatemesh ca: unknown command "sing". Did you mean "sign"\?\n/],
    [
      'a near miss of a flag',
      'status --dri x',
      64,
      /^gatemesh ca status: unknown flag "--dri". Did you mean "--dir"\?\nusage: /,
    ],
    ['init without a folder', 'init', 64, /^gatemesh ca init: wanted --dir; got nothing\n/],
    [
      'a word too many',
      'init --dir /nowhere/ca now',
      64,
      /^gatemesh ca init: wanted flags only; got the word "now"\n/,
    ],
    [
      'an upper-case trust domain',
      'init --dir /nowhere/ca --trust-domain Mesh',
      64,
      /^trust domain: wanted a lower-case name such as "mesh.internal" of at most 180 characters, got "Mesh"$/,
    ],
    [
      'a folder without an authority',
      'serve --dir /nowhere/ca',
      1,
      /^there is no authority in \/nowhere\/ca. To make one: gatemesh ca init --dir \/nowhere\/ca$/,
    ],
    [
      'an address that is none',
      'serve --dir /nowhere/ca --listen 15444',
      64,
      /--listen: wanted an address such as "127.0.0.1:8080" or "\[::1\]:8080"; got "15444"\n/,
    ],
    [
      'two registries',
      'serve --dir /nowhere/ca --etcd http://127.0.0.1:2379 --embedded /x',
      64,
      /wanted one of --etcd and --embedded; got both\n/,
    ],
    [
      'a life too short',
      'serve --dir /nowhere/ca --leaf-ttl 1s',
      64,
      /--leaf-ttl: wanted a duration from 2s to 30d\n/,
    ],
    [
      'a passphrase file that is not there',
      'init --dir /nowhere/ca --passphrase-file /nowhere/p',
      64,
      /^--passphrase-file: cannot read \/nowhere\/p: ENOENT/,
    ],
    [
      'a token without socket',
      'token --node vm-a',
      64,
      /^gatemesh ca token: wanted --dir or --socket; got neither\n/,
    ],
    [
      'a name that cannot be a node',
      'token --node VM_A --dir /nowhere/ca',
      64,
      /--node: wanted a name of up to 63 lower-case letters, digits, "-" and "."; got "VM_A"\n/,
    ],
    [
      'no CA running',
      'token --node vm-a --socket /nowhere/admin.sock',
      69,
      /^cannot reach the CA at \/nowhere\/admin.sock: connect ENOENT \/nowhere\/admin.sock. Is "gatemesh ca serve" running on this machine, with this --dir or --socket\?$/,
    ],
    [
      'an identity that is none',
      'sign --identity web --socket /nowhere/admin.sock',
      64,
      /--identity: wanted svc\/<service>, node\/<node>, edge\/<gateway> or a whole SPIFFE id; got "web"\n/,
    ],
    ['revoke', 'revoke x', 64, /^gatemesh ca revoke: not supported by this version yet$/],
  ];
  for (const [name, line, exitCode, message] of rows) {
    it(name, () =>
      assert.rejects(runCa(line.split(' ').filter(Boolean)), {
        name: 'MeshError',
        exitCode,
        message,
      }),
    );
  }

  it('ends with that code, the message on standard error, and no stack', async () => {
    assert.deepEqual(await ca(['rotate']), {
      code: 64,
      stdout: '',
      stderr: 'gatemesh: gatemesh ca rotate: not supported by this version yet\n',
    });
  });

  it('tells all flags with --help and ends with 0', async () => {
    const { code, stdout } = await ca(['--help']);
    assert.equal(code, 0);
    for (const command of ['init', 'serve', 'sign', 'token', 'status']) {
      assert.match(stdout, new RegExp(`^gatemesh ca ${command} --`, 'm'));
    }
    const one = await ca(['sign', '--help']);
    assert.equal(one.code, 0);
    assert.match(one.stdout, /^gatemesh ca sign --/);
    assert.ok(!one.stdout.includes('gatemesh ca init'));
  });
});
