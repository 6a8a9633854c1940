import assert from 'node:assert/strict';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { openLocalCa } from '../../ca/client.ts';
import { formatIdentity, type Identity } from '../../ca/identity.ts';
import { IdentityFiles } from '../../gateway/supervisor/identity-files.ts';
import { IdentityKeeper } from '../../gateway/supervisor/identity-keeper.ts';
import { MeshError } from '#kit/errors.ts';
import {
  directClient,
  identity,
  lastFirst,
  silentLog,
  temporaryFolder,
  testAuthority,
  TRUST_DOMAIN,
  type DirectClient,
  type TestAuthority,
} from '../support/ca.ts';
import { eventually } from '../support/eventually.ts';
import { fakeClock, type FakeClock } from '../support/fake-clock.ts';
import { testPki } from '../support/pki.ts';

const HOUR_MS = 3_600_000;
const NODE = identity('node', 'vm-a');
const WEB = identity('svc', 'web');
const ORDERS = identity('svc', 'orders');
const AWAY = new MeshError('ca_unreachable', 'cannot reach the CA of the test');

/** A node with a data directory, in a mesh whose time is moved by hand and whose authority can be taken away. */
class Machine {
  readonly clock: FakeClock;
  readonly ca: TestAuthority;
  readonly client: DirectClient;
  readonly dataDir: string;
  readonly tokenFile: string;
  /** Added to the wall clock of the keeper, not to that of the authority. */
  skewMs = 0;
  keeper: IdentityKeeper | undefined;
  readonly after: ReturnType<typeof lastFirst>;

  private constructor(
    ca: TestAuthority,
    clock: FakeClock,
    dataDir: string,
    after: ReturnType<typeof lastFirst>,
  ) {
    this.ca = ca;
    this.after = after;
    this.clock = clock;
    this.client = directClient(ca.authority);
    this.dataDir = dataDir;
    this.tokenFile = join(dataDir, 'token');
  }

  static async make(t: TestContext): Promise<Machine> {
    const clock = fakeClock(Date.UTC(2026, 10, 1));
    const after = lastFirst(t);
    const dataDir = await temporaryFolder(after);
    const ca = await testAuthority(after, { leafTtlMs: 24 * HOUR_MS, clock });
    const machine = new Machine(ca, clock, dataDir, after);
    after(() => machine.keeper?.stop());
    return machine;
  }

  async giveToken(services: readonly string[]): Promise<void> {
    const enrolment = { node: 'vm-a', services, gateway: undefined };
    await writeFile(this.tokenFile, (await this.ca.authority.mint(enrolment, HOUR_MS)).token);
  }

  async start(wanted: readonly Identity[]): Promise<IdentityKeeper> {
    await this.keeper?.stop();
    const { clock } = this;
    this.keeper = new IdentityKeeper({
      client: this.client,
      dataDir: this.dataDir,
      trustDomain: TRUST_DOMAIN,
      tokenFile: this.tokenFile,
      clock: { ...clock, wallMs: () => clock.wallMs() + this.skewMs },
      rng: () => 0.5,
      log: silentLog,
    });
    this.keeper.setWanted(wanted);
    await this.keeper.start();
    return this.keeper;
  }

  /** Moves time on until `assertion` holds: retries are timers, answers are promises. */
  until(assertion: () => void): Promise<void> {
    return eventually(() => {
      this.clock.advance(1_000);
      assertion();
    });
  }
}

function serials(keeper: IdentityKeeper): readonly string[] {
  return Array.from(keeper.material?.svids.values() ?? [], ({ serial }) => serial);
}

describe('IdentityKeeper', () => {
  it('joins with the token once, and has a certificate for each', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web', 'orders']);
    const keeper = await machine.start([NODE, WEB, ORDERS]);
    await eventually(() => assert.equal(keeper.material?.svids.size, 3));
    assert.deepEqual(machine.client.calls, ['enrol node/vm-a svc/web svc/orders']);
    assert.deepEqual(
      keeper.state.map(({ identity: id, status, lastError }) => [id, status, lastError]),
      [NODE, WEB, ORDERS].map((id) => [formatIdentity(id), 'fresh', undefined]),
    );
    assert.deepEqual(keeper.material?.bundle, machine.ca.authority.bundle);
  });

  it('keeps keys where only its user can read them, and no token', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    const keeper = await machine.start([NODE, WEB]);
    await eventually(() => assert.equal(keeper.state[1]?.status, 'fresh'));
    await keeper.stop();
    const folder = join(machine.dataDir, 'identity');
    assert.equal((await stat(folder)).mode & 0o777, 0o700);
    const names = (await readdir(folder)).toSorted();
    assert.deepEqual(names, ['bundle.pem', 'node.vm-a.pem', 'svc.web.pem', 'used-tokens']);
    const token = (await readFile(machine.tokenFile, 'utf8')).trim();
    for (const name of names) {
      assert.equal((await stat(join(folder, name))).mode & 0o777, 0o600, name);
      assert.ok(!(await readFile(join(folder, name), 'utf8')).includes(token), name);
    }
  });

  it('renews at half of the life with a new key, by the certificate of the node', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    const keeper = await machine.start([NODE, WEB]);
    await eventually(() => assert.equal(keeper.material?.svids.size, 2));
    const before = keeper.material!.svids.get(formatIdentity(WEB))!;
    machine.clock.advance(11.9 * HOUR_MS);
    assert.equal(keeper.state[1]?.status, 'fresh');
    machine.clock.advance(0.2 * HOUR_MS);
    await machine.until(() => {
      assert.equal(machine.client.calls.at(-1), 'renew node/vm-a svc/web');
      assert.equal(keeper.state[1]?.status, 'fresh');
    });
    const after = keeper.material!.svids.get(formatIdentity(WEB))!;
    assert.notEqual(after.serial, before.serial);
    assert.notEqual(after.keyPem, before.keyPem);
    assert.equal(machine.client.calls.length, 2);
  });

  it('serves from disk after a restart while the authority is away', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    const first = await machine.start([NODE, WEB]);
    await eventually(() => assert.equal(first.material?.svids.size, 2));
    await first.stop();
    machine.client.outage = AWAY;
    const second = await machine.start([NODE, WEB]);
    // At once: start() has read it, nothing was asked.
    assert.deepEqual(serials(second), serials(first));
    assert.equal(machine.client.calls.length, 1);
  });

  it('never drops a certificate that is still valid, and recovers by itself', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    const keeper = await machine.start([NODE, WEB]);
    await eventually(() => assert.equal(keeper.material?.svids.size, 2));
    const before = serials(keeper);
    machine.client.outage = AWAY;
    machine.clock.advance(20 * HOUR_MS);
    await machine.until(() => {
      assert.equal(keeper.state[0]?.status, 'urgent');
      assert.equal(keeper.state[0]?.lastError, 'cannot reach the CA of the test');
    });
    assert.deepEqual(serials(keeper), before);
    machine.client.outage = undefined;
    await machine.until(() => assert.equal(keeper.state[0]?.status, 'fresh'));
    assert.equal(keeper.state[0]?.lastError, undefined);
    assert.notDeepEqual(serials(keeper), before);
  });

  it('takes back what has ended, and joins again with a new token', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    const keeper = await machine.start([NODE, WEB]);
    await eventually(() => assert.equal(keeper.material?.svids.size, 2));
    machine.client.outage = AWAY;
    machine.clock.advance(25 * HOUR_MS);
    await machine.until(() => assert.equal(keeper.material?.svids.size, 0));
    assert.equal(keeper.state[0]?.status, 'expired');
    machine.client.outage = undefined;
    await machine.until(() =>
      assert.equal(
        keeper.state[0]?.lastError,
        `${machine.tokenFile} has no unused token: make one on the CA host with "gatemesh ca token --node NAME --services …" and put it there; the file is looked at again`,
      ),
    );
    await machine.giveToken(['web']);
    await machine.until(() => assert.equal(keeper.material?.svids.size, 2));
  });

  it('gets a service that is wanted later with the certificate of the node', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web', 'orders']);
    const keeper = await machine.start([NODE, WEB]);
    await eventually(() => assert.equal(keeper.material?.svids.size, 2));
    keeper.setWanted([NODE, WEB, ORDERS]);
    await eventually(() => assert.equal(keeper.material?.svids.size, 3));
    assert.equal(machine.client.calls.at(-1), 'renew svc/orders');
  });

  it('drops the certificate of a service that is no longer wanted', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    const keeper = await machine.start([NODE, WEB]);
    await eventually(() => assert.equal(keeper.material?.svids.size, 2));
    keeper.setWanted([NODE]);
    await eventually(() =>
      assert.deepEqual([...keeper.material!.svids.keys()], [formatIdentity(NODE)]),
    );
  });

  it('goes without a service its enrolment does not cover, until a new token does', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    const keeper = await machine.start([NODE, WEB, ORDERS]);
    await eventually(() => assert.equal(keeper.material?.svids.size, 2));
    assert.match(
      keeper.state[2]?.lastError ?? '',
      /^spiffe:\/\/mesh.test\/svc\/orders is refused: /,
    );
    await machine.giveToken(['web', 'orders']);
    await machine.until(() => assert.equal(keeper.material?.svids.size, 3));
    assert.equal(machine.client.calls.at(-1), 'enrol node/vm-a svc/orders');
  });

  it('says what to do with a spent token, and takes the next one', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    const spent = await readFile(machine.tokenFile, 'utf8');
    await machine.client.enrol([NODE], spent);
    const keeper = await machine.start([NODE, WEB]);
    await eventually(() =>
      assert.match(keeper.state[0]?.lastError ?? '', /^the token was used already, has expired/),
    );
    const asked = machine.client.calls.length;
    await machine.until(() =>
      assert.match(
        keeper.state[0]?.lastError ?? '',
        /has no unused token or holds one that is spent/,
      ),
    );
    assert.equal(machine.client.calls.length, asked, 'a refused token is not tried again');
    await machine.giveToken(['web']);
    await machine.until(() => assert.equal(keeper.material?.svids.size, 2));
  });

  it('waits for a token file that is not there yet', async (t) => {
    const machine = await Machine.make(t);
    const keeper = await machine.start([NODE]);
    await eventually(() => assert.match(keeper.state[0]?.lastError ?? '', /has no unused token/));
    assert.equal(keeper.material, undefined);
    await machine.giveToken([]);
    await machine.until(() => assert.equal(keeper.material?.svids.size, 1));
  });

  it('names a file that holds no token', async (t) => {
    const machine = await Machine.make(t);
    await writeFile(machine.tokenFile, 'hello');
    const keeper = await machine.start([NODE]);
    await eventually(() =>
      assert.equal(
        keeper.state[0]?.lastError,
        `${machine.tokenFile} does not hold a token: write the line that "gatemesh ca token" prints into it`,
      ),
    );
  });

  it('names clocks that differ, and does not ask in a loop', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    machine.skewMs = -HOUR_MS;
    const keeper = await machine.start([NODE, WEB]);
    await eventually(() => assert.match(keeper.state[0]?.lastError ?? '', /^clock_skew: /));
    const asked = machine.client.calls.length;
    machine.clock.advance(100);
    assert.equal(machine.client.calls.length, asked);
    machine.skewMs = 0;
    await machine.until(() => assert.equal(keeper.state[0]?.lastError, undefined));
  });

  it('does not use a file whose key and certificate were mixed up', async (t) => {
    const machine = await Machine.make(t);
    await machine.giveToken(['web']);
    const first = await machine.start([NODE, WEB]);
    await eventually(() => assert.equal(first.material?.svids.size, 2));
    await first.stop();
    const path = join(machine.dataDir, 'identity', 'svc.web.pem');
    const other = testPki(TRUST_DOMAIN).svid('svc', 'web');
    const [, certificates] = (await readFile(path, 'utf8')).split('-----END PRIVATE KEY-----\n');
    await writeFile(path, other.keyPem + certificates);
    machine.client.outage = AWAY;
    const second = await machine.start([NODE, WEB]);
    assert.deepEqual([...second.material!.svids.keys()], [formatIdentity(NODE)]);
  });

  it('needs no token where the authority is inside', async (t) => {
    const machine = await Machine.make(t);
    const dir = join(machine.dataDir, 'inside');
    const { store } = machine.ca;
    const { clock } = machine;
    const options = { dir, trustDomain: TRUST_DOMAIN, store, clock, log: silentLog };
    const client = await openLocalCa(options);
    machine.after(() => client.close());
    const common = { dataDir: machine.dataDir, trustDomain: TRUST_DOMAIN, clock, log: silentLog };
    const keeper = new IdentityKeeper({ ...common, client, rng: () => 0.5 });
    machine.after(() => keeper.stop());
    keeper.setWanted([NODE, WEB]);
    await keeper.start();
    await eventually(() => assert.equal(keeper.material?.svids.size, 2));
    const again = await openLocalCa(options);
    machine.after(() => again.close());
    assert.deepEqual(await again.bundle(), keeper.material?.bundle);
  });
});

describe('IdentityFiles', () => {
  it('uses what is put there, and what replaces it; a set that does not fit changes nothing', async (t) => {
    const after = lastFirst(t);
    const folder = await temporaryFolder(after);
    const pki = testPki(TRUST_DOMAIN);
    const files = {
      certFile: join(folder, 'cert.pem'),
      keyFile: join(folder, 'key.pem'),
      bundleFile: join(folder, 'bundle.pem'),
    };
    const put = async (svid: { certPem: string; keyPem: string }): Promise<void> => {
      await writeFile(files.certFile, svid.certPem);
      await writeFile(files.keyFile, svid.keyPem);
      await writeFile(files.bundleFile, pki.rootPem);
    };
    const clock = fakeClock(Date.now());
    const source = new IdentityFiles({
      ...files,
      trustDomain: TRUST_DOMAIN,
      clock,
      log: silentLog,
    });
    after(() => source.stop());
    source.setWanted([NODE]);
    await source.start();
    const inUse = () => source.material?.svids.get(formatIdentity(NODE))?.serial;
    assert.equal(inUse(), undefined);
    assert.match(source.state[0]?.lastError ?? '', /ENOENT/);

    const first = pki.svid('node', 'vm-a');
    await put(first);
    await clock.advanceAsync(5_000);
    await eventually(() => assert.equal(inUse(), first.serial));
    assert.equal(source.state[0]?.status, 'fresh');

    const second = pki.svid('node', 'vm-a');
    await writeFile(files.keyFile, second.keyPem);
    await clock.advanceAsync(5_000);
    await eventually(() =>
      assert.equal(
        source.state[0]?.lastError,
        `${files.certFile} with ${files.keyFile}: the key is not the one in the certificate`,
      ),
    );
    assert.equal(inUse(), first.serial);

    await put(second);
    await clock.advanceAsync(5_000);
    await eventually(() => assert.equal(inUse(), second.serial));
    assert.equal(source.state[0]?.lastError, undefined);
  });
});
