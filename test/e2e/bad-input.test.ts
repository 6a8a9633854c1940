import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { stringify } from 'yaml';
import { formatAddress, type Address } from '#kit/address.ts';
import { startProcess, untilReady, type RunningProcess } from '../../gateway/demo/processes.ts';
import { startCa, type TestCa } from '../support/ca-process.ts';
import { curl } from '../support/curl.ts';
import { startEtcd, type TestEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { testPki } from '../support/pki.ts';
import { freePorts, GATEMESH, gatemesh, type Finished } from '../support/processes.ts';

const HOST = '127.0.1.1';
/** Nobody listens there, and nobody without root can. */
const NOWHERE = `${HOST}:1`;

let top: string;
let etcd: TestEtcd;
let ca: TestCa;

before(async () => {
  top = await mkdtemp(join(tmpdir(), 'gatemesh-bad-'));
  etcd = await startEtcd();
  ca = await startCa(top, { trustDomain: 'mesh.internal', etcd: etcd.url, leafTtl: undefined });
});

after(async () => {
  await ca?.stop();
  await etcd?.stop();
  await rm(top, { recursive: true, force: true });
});

/** The folder of one test. */
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(top, 'case-'));
});

interface Place {
  readonly file: string;
  readonly dataDir: string;
  readonly admin: Address;
  readonly mesh: Address;
}

type Config = Record<string, unknown>;

/** Certificate files put there by somebody else. */
interface Own {
  readonly certFile: string;
  readonly keyFile: string;
  readonly bundleFile: string;
}

/** A configuration that works, after `change`. */
async function configured(change: (config: Config) => void = () => undefined): Promise<Place> {
  const [mesh, egress, admin] = await freePorts(HOST, 3);
  const at = (port: number | undefined): string => `${HOST}:${port}`;
  const dataDir = join(folder, 'data');
  const tokenFile = join(folder, 'token');
  const config: Config = {
    node: 'vm-x',
    dataDir,
    registry: { etcd: { endpoints: [etcd.url] } },
    identity: { ca: ca.url, caFingerprint: ca.fingerprint, tokenFile },
    mesh: { listen: at(mesh) },
    egress: { listen: at(egress) },
    admin: { listen: at(admin), socket: join(folder, 'admin.sock') },
  };
  change(config);
  const file = join(folder, 'gateway.yaml');
  await writeFile(file, stringify(config));
  return {
    file,
    dataDir,
    admin: { host: HOST, port: admin! },
    mesh: { host: HOST, port: mesh! },
  };
}

async function writeToken(): Promise<void> {
  await writeFile(join(folder, 'token'), await ca.token('vm-x', []), { mode: 0o600 });
}

/** One clear message: the right exit code, nothing on stdout that looks like a result, no stack trace. */
function assertRefused(finished: Finished, code: number, ...says: readonly RegExp[]): void {
  const said = finished.stdout + finished.stderr;
  assert.equal(finished.code, code, said);
  for (const pattern of says) assert.match(said, pattern);
  assert.doesNotMatch(said, /^ {4}at /m, 'a stack trace');
  assert.doesNotMatch(said, /ExperimentalWarning|UnhandledPromise/);
}

async function files(): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).toSorted();
}

describe('the configuration', () => {
  it('is checked whole by --check: every problem with file, line, path and near miss, exit code 64', async () => {
    const { file } = await configured((config) => {
      config['nod'] = 'vm-x';
      config['mesh'] = { listen: 'everywhere' };
    });
    await mkdir(join(folder, 'services.d'));
    const service = join(folder, 'services.d', 'orders.yaml');
    await writeFile(
      service,
      'service: orders\naddress: 127.0.0.1:8080\ncheck: { intervall: 5s }\n',
    );
    const earlier = await files();
    const checked = await gatemesh(['gateway', '--config', file, '--check']);
    assertRefused(
      checked,
      64,
      /3 problems in the configuration:/,
      /gateway\.yaml:\d+: .*unknown field "nod".*Did you mean "node"\?/,
      /gateway\.yaml:\d+: \$\.mesh\.listen: wanted an address .*; got "everywhere"/,
      /orders\.yaml:3: .*unknown field "intervall".*Did you mean "interval"\?/,
    );
    assert.deepEqual(await files(), earlier);
  });

  it('stops the gateway in the same words', async () => {
    const { file } = await configured((config) => {
      config['workers'] = 'two';
    });
    const args = ['gateway', '--config', file];
    const [started, checked] = [await gatemesh(args), await gatemesh([...args, '--check'])];
    assertRefused(started, 64, /\$\.workers: wanted an integer from 1 to 64; got "two"/);
    assert.equal(started.stderr, checked.stderr);
    assert.deepEqual(await files(), ['gateway.yaml']);
  });

  it('passes --check when it is good, and nothing is written', async () => {
    const { file } = await configured();
    await writeToken();
    const earlier = await files();
    const { code, stderr } = await gatemesh(['gateway', '--config', file, '--check']);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    assert.deepEqual(await files(), earlier);
  });

  const broken: readonly { name: string; text: string; says: RegExp }[] = [
    {
      name: 'text that is not YAML',
      text: 'node: vm-x\nmesh: {listen: "\n',
      says: /gateway\.yaml:\d/,
    },
    { name: 'an empty file', text: '', says: /registry/ },
    {
      name: 'both registries',
      text: `registry: { etcd: { endpoints: ['http://127.0.0.1:2379'] }, embedded: {} }`,
      says: /one of etcd and/,
    },
  ];
  for (const { name, text, says } of broken) {
    it(`may not be ${name}`, async () => {
      const file = join(folder, 'gateway.yaml');
      await writeFile(file, text);
      assertRefused(await gatemesh(['gateway', '--config', file, '--check']), 64, says);
    });
  }

  it('must be there', async () => {
    const file = join(folder, 'nothing.yaml');
    const finished = await gatemesh(['gateway', '--config', file]);
    assertRefused(finished, 64, /cannot read .*nothing\.yaml: there is no such file/);
  });
});

describe('the command line', () => {
  const wrong: readonly { args: string[]; says: RegExp }[] = [
    { args: [], says: /wanted a command; got nothing/ },
    { args: ['gatway'], says: /unknown command "gatway"\. Did you mean "gateway"\?/ },
    {
      args: ['gateway', '--confg', 'x'],
      says: /unknown flag "--confg"\. Did you mean "--config"\?/,
    },
    { args: ['gateway', '--config'], says: /--config wants a value; got nothing/ },
    { args: ['ca', 'tokn'], says: /unknown command "tokn"\. Did you mean "token"\?/ },
    { args: ['ca', 'token', '--dir', '/nowhere'], says: /wanted --node; got nothing/ },
    {
      args: ['ca', 'serve', '--dir', 'x', '--leaf-ttl', 'soon'],
      says: /wanted a duration such as/,
    },
    { args: ['ca', 'init', '--dir', 'x', '--trust-domain', 'A B'], says: /trust domain: wanted/ },
    { args: ['explain'], says: /wanted \[METHOD\] URL; got nothing/ },
  ];
  for (const { args, says } of wrong) {
    it(`"gatemesh ${args.join(' ')}" exits with 64 and says what was wanted`, async () => {
      assertRefused(await gatemesh(args, { cwd: folder }), 64, says);
      assert.deepEqual(await files(), []);
    });
  }
});

describe('a port in use', () => {
  for (const listener of ['mesh', 'egress', 'admin'] as const) {
    it(`by ${listener}.listen is named, and the same configuration works once it is free`, async () => {
      await writeToken();
      const squatter = createServer().listen(0, HOST).unref();
      await new Promise((resolve) => squatter.once('listening', resolve));
      const { port } = squatter.address() as { port: number };
      const { file, admin } = await configured((config) => {
        Object.assign(config[listener] as object, { listen: `${HOST}:${port}` });
      });
      const adminAt = listener === 'admin' ? { host: HOST, port } : admin;
      const refused = await gatemesh(['gateway', '--config', file]);
      assertRefused(
        refused,
        1,
        new RegExp(`${HOST}:${port}`),
        new RegExp(`${listener}\\.listen|"${listener}" in the gateway file`),
        /in use/,
      );

      await new Promise((resolve) => squatter.close(resolve));
      // The token was not lost with the start that failed.
      await runsUntilReady({ file, admin: adminAt });
    });
  }

  it('by the CA is named', async () => {
    const second = join(folder, 'ca');
    assert.equal((await gatemesh(['ca', 'init', '--dir', second])).code, 0);
    const finished = await gatemesh(
      ['ca', 'serve', '--dir', second, '--listen', formatAddress(ca.address)],
      { deadlineMs: 10_000 },
    );
    assertRefused(finished, 1, new RegExp(formatAddress(ca.address)), /in use/);
  });
});

describe('a key', () => {
  const kinds: readonly { name: string; write?: (file: string) => Promise<unknown> }[] = [
    { name: 'that is not there' },
    { name: 'that is a folder', write: (file) => mkdir(file) },
    { name: 'that is no key', write: (file) => writeFile(file, 'not a key\n', { mode: 0o600 }) },
  ];
  for (const { name, write } of kinds) {
    it(`${name} ends the first start with 64; once it is good the next one is ready`, async () => {
      const own: Own = {
        certFile: join(folder, 'own.crt'),
        keyFile: join(folder, 'own.key'),
        bundleFile: join(folder, 'bundle.crt'),
      };
      const pki = testPki();
      const svid = pki.svid('node', 'vm-x');
      await writeFile(own.certFile, svid.certPem);
      await writeFile(own.bundleFile, pki.rootPem);
      await write?.(own.keyFile);
      const place = await configured((config) => {
        config['identity'] = own;
      });
      await cannotJoin(place, 64, /own\.key/);
      await rm(own.keyFile, { recursive: true, force: true });
      await writeFile(own.keyFile, svid.keyPem, { mode: 0o600 });
      await runsUntilReady(place);
    });
  }

  for (const { name, write } of kinds) {
    it(`${name} is found by --check, exit code 64`, async () => {
      const keyFile = join(folder, 'own.key');
      await write?.(keyFile);
      const other = join(folder, 'own.crt');
      await writeFile(other, '');
      const { file } = await configured((config) => {
        config['identity'] = { certFile: other, bundleFile: other, keyFile };
      });
      const checked = await gatemesh(['gateway', '--config', file, '--check']);
      assertRefused(
        checked,
        64,
        /identity\.keyFile: (?:wanted a file this user can read; )?.*own\.key/,
      );
    });
  }

  it('of the CA that cannot be read stops the CA', async () => {
    const dir = join(folder, 'ca');
    assert.equal((await gatemesh(['ca', 'init', '--dir', dir])).code, 0);
    await rm(join(dir, 'issuer.key'));
    const finished = await gatemesh(['ca', 'serve', '--dir', dir, '--listen', `${HOST}:0`], {
      deadlineMs: 10_000,
    });
    assertRefused(finished, 1, /cannot read .*issuer\.key/);
  });

  it('of an authority is never written over', async () => {
    const dir = join(folder, 'ca');
    assert.equal((await gatemesh(['ca', 'init', '--dir', dir])).code, 0);
    assertRefused(await gatemesh(['ca', 'init', '--dir', dir]), 1, /is there already/);
  });
});

describe('a server that is not there', () => {
  it('etcd: the CA starts without it, and says which is missing when it is asked for a token, exit code 69', async () => {
    const dir = join(folder, 'ca');
    assert.equal((await gatemesh(['ca', 'init', '--dir', dir])).code, 0);
    const place = ['--dir', dir, '--listen', `${HOST}:0`, '--etcd', `http://${NOWHERE}`];
    const alone = await startProcess({
      name: 'ca',
      command: GATEMESH,
      args: ['ca', 'serve', ...place],
      logFile: join(folder, 'ca.log'),
    });
    try {
      const token = ['ca', 'token', '--node', 'vm-x', '--dir', dir];
      await eventually(async () => {
        assertRefused(await gatemesh(token), 69, new RegExp(`etcd .*${NOWHERE}`));
      }, 15_000);
    } finally {
      assert.deepEqual(await alone.stop(), { code: 0, signal: null });
    }
  });

  it('the CA: "gatemesh ca token" says where it looked, exit code 69', async () => {
    const finished = await gatemesh(['ca', 'token', '--node', 'vm-x', '--dir', folder]);
    assertRefused(finished, 69, /admin\.sock/, /gatemesh ca serve/);
  });

  it('the gateway: "gatemesh status" says where it looked, exit code 69', async () => {
    const finished = await gatemesh(['status', '--admin', `http://${NOWHERE}`]);
    assertRefused(finished, 69, new RegExp(NOWHERE));
  });

  it('etcd, on a first start: the gateway says so and ends with 69 within 30 s', async () => {
    await writeToken();
    const place = await configured((config) => {
      config['registry'] = { etcd: { endpoints: [`http://${NOWHERE}`] } };
    });
    await cannotJoin(place, 69, new RegExp(`etcd at http://${NOWHERE} cannot be reached`));
  });

  it('the CA, on a first start: the gateway says so and ends with 69 within 30 s', async () => {
    await writeToken();
    const place = await configured((config) => {
      Object.assign(config['identity'] as object, { ca: `https://${NOWHERE}` });
    });
    await cannotJoin(place, 69, new RegExp(`cannot reach the CA.*${NOWHERE}`));
    await assertNoCertificate(place.dataDir);
  });
});

// A gateway that starts for the first time and is refused has nothing to serve: it ends, and says what is to be done.
describe('joining', () => {
  it('a CA of another fingerprint is refused before the token is said', async () => {
    await writeToken();
    const other = `sha256:${'0'.repeat(64)}`;
    const wrong = await configured((config) => {
      Object.assign(config['identity'] as object, { caFingerprint: other });
    });
    const why = new RegExp(`${ca.fingerprint}, wanted ${other}\\. Nothing was sent`);
    await cannotJoin(wrong, 64, why);
    await assertNoCertificate(wrong.dataDir);

    // The token is as good as before.
    const right = await configured();
    await runsUntilReady(right);
  });

  it('a token that was used is refused; with a new one in its place the next start joins', async () => {
    await writeToken();
    await runsUntilReady(await configured());
    const dataDir = join(folder, 'second');
    const second = await configured((config) => {
      config['dataDir'] = dataDir;
    });
    await cannotJoin(second, 1, /token .*used already/);
    await assertNoCertificate(dataDir);
    await writeToken();
    await runsUntilReady(second);
  });

  it('a token that is none is refused; with a real one in its place the next start joins', async () => {
    await writeFile(join(folder, 'token'), 'let me in\n', { mode: 0o600 });
    const place = await configured();
    await cannotJoin(place, 64, /does not hold a token/);
    await assertNoCertificate(place.dataDir);
    await writeToken();
    await runsUntilReady(place);
  });
});

function start(file: string): Promise<RunningProcess> {
  const logFile = join(folder, 'gateway.log');
  const args = ['gateway', '--config', file];
  return startProcess({ name: 'vm-x', command: GATEMESH, args, logFile });
}

async function ready(admin: Address): Promise<void> {
  const { status, body } = await curl(admin, { path: '/readyz' });
  if (status !== 200) throw new Error(`/readyz: ${status} ${body.trim()}`);
}

async function runsUntilReady({ file, admin }: Pick<Place, 'file' | 'admin'>): Promise<void> {
  const gateway = await start(file);
  try {
    await untilReady(gateway, () => ready(admin), 15_000);
  } finally {
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  }
}

/** One start that fails: the exit code, one message, no stack trace, nobody left behind. */
async function cannotJoin({ file }: Place, code: number, why: RegExp): Promise<void> {
  const gateway = await start(file);
  try {
    await eventually(() => assert.notEqual(gateway.exit, undefined, 'it still runs'), 30_000);
  } finally {
    await gateway.stop();
  }
  assert.deepEqual(gateway.exit, { code, signal: null });
  const log = await readFile(gateway.logFile, 'utf8');
  const message = log.split('\n').filter((line) => line.startsWith('gatemesh: '));
  assert.equal(message.length, 1, log);
  assert.match(message[0] ?? '', why);
  assert.doesNotMatch(log, /^ {4}at |"stack":/m);
}

/** No half-written identity: neither a certificate nor a key without one. */
async function assertNoCertificate(dataDir: string): Promise<void> {
  const found = await readdir(dataDir, { recursive: true }).catch(() => []);
  assert.deepEqual(
    found.filter((name) => /\.(?:crt|key|pem)$/.test(name)),
    [],
  );
}
