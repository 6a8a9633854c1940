import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { request as httpsRequest } from 'node:https';
import { describe, it, type TestContext } from 'node:test';
import { connect as tlsConnect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { formatAddress } from '#kit/address.ts';
import { systemClock } from '#kit/clock.ts';
import { prepareRequests } from '../../ca/authority-client.ts';
import { CaClient } from '../../ca/client.ts';
import { checkSvid, formatIdentity, type Svid } from '../../ca/identity.ts';
import { fromPem } from '../../ca/pem.ts';
import { startCaServer } from '../../ca/server.ts';
import { checkToken, parseToken } from '../../ca/tokens.ts';
import { fingerprint as fingerprintOf } from '../../ca/x509.ts';
import { IdentityKeeper } from '../../gateway/supervisor/identity-keeper.ts';
import {
  identity,
  lastFirst,
  silentLog,
  temporaryFolder,
  testAuthority,
  TRUST_DOMAIN,
} from '../support/ca.ts';
import { eventually } from '../support/eventually.ts';
import { testPki } from '../support/pki.ts';

const NODE = identity('node', 'vm-a');
const WEB = identity('svc', 'web');

async function running(t: TestContext, leafTtlMs = 3_600_000) {
  const after = lastFirst(t);
  const { authority } = await testAuthority(after, { leafTtlMs });
  const common = { authority, clock: systemClock, log: silentLog };
  const server = await startCaServer({ ...common, listen: { host: '127.0.0.1', port: 0 } });
  after(() => server.close());
  const url = `https://${formatAddress(server.address)}`;
  const fingerprint = authority.directory.roots[0]!.fingerprint;
  const client = new CaClient({ url, fingerprint });
  const token = async (services: readonly string[] = ['web']): Promise<string> => {
    const enrolment = { node: 'vm-a', services, gateway: undefined };
    return (await authority.mint(enrolment, 60_000)).token;
  };
  return { after, authority, server, url, fingerprint, client, token };
}

/** One request by hand, with whatever certificate; resolves to status and error code. */
function ask(
  url: string,
  path: string,
  options: { readonly ca: readonly string[]; readonly holder?: Svid; readonly body?: string },
): Promise<readonly [status: number, code: string | undefined]> {
  return new Promise((resolve, reject) => {
    const { holder, body } = options;
    const request = httpsRequest(`${url}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { 'content-type': 'application/json' },
      ca: [...options.ca],
      servername: `ca.${TRUST_DOMAIN}`,
      agent: false,
      ...(holder === undefined ? {} : { cert: holder.certPem, key: holder.keyPem }),
    });
    request.once('error', reject);
    request.once('response', (response) => {
      let text = '';
      response.on('data', (chunk) => (text += chunk));
      response.once('end', () => resolve([response.statusCode!, JSON.parse(text).error]));
    });
    request.end(body);
  });
}

describe('the CA over HTTPS', () => {
  it('enrols a node with its services for one token, and renews by certificate', async (t) => {
    const { client, token } = await running(t);
    const enrolled = await client.enrol([NODE, WEB], await token());
    assert.deepEqual(
      enrolled.svids.map((svid) => svid.identity),
      [formatIdentity(NODE), formatIdentity(WEB)],
    );
    const renewed = await client.renew(enrolled.svids[0]!, enrolled.bundle, [NODE, WEB]);
    assert.equal(renewed.svids.length, 2);
    for (const [i, { serial, keyPem }] of renewed.svids.entries()) {
      assert.notEqual(serial, enrolled.svids[i]!.serial);
      assert.notEqual(keyPem, enrolled.svids[i]!.keyPem);
    }
    const byService = await client.renew(renewed.svids[1]!, enrolled.bundle, [WEB]);
    assert.equal(byService.svids[0]?.identity, formatIdentity(WEB));
  });

  it('gives one of 20 that redeem a token at once its certificates', async (t) => {
    const { client, token } = await running(t);
    const text = await token();
    const answers = await Promise.allSettled(
      Array.from({ length: 20 }, () => client.enrol([NODE], text)),
    );
    const codes = answers.map((answer) =>
      answer.status === 'rejected' ? answer.reason.code : 'granted',
    );
    assert.equal(codes.filter((code) => code === 'granted').length, 1);
    assert.equal(codes.filter((code) => code === 'token_refused').length, 19);
  });

  it('does not spend a token on a request it refuses', async (t) => {
    const { client, token } = await running(t);
    const text = await token();
    await assert.rejects(client.enrol([identity('node', 'vm-b')], text), {
      code: 'identity_not_allowed',
    });
    await assert.rejects(client.enrol([WEB], text), {
      code: 'enrol_without_node',
      message: /: to enrol, spiffe:\/\/mesh.test\/node\/vm-a must be among the requests$/,
    });
    assert.equal((await client.enrol([NODE], text)).svids.length, 1);
  });

  it('does not spend a token while its book cannot be written', async (t) => {
    const { authority, store } = await testAuthority(lastFirst(t));
    const enrolment = { node: 'vm-a', services: [], gateway: undefined };
    const { token } = await authority.mint(enrolment, 60_000);
    const { wanted } = prepareRequests([NODE]);
    // As a full disk: every write to the book fails from here on.
    await authority.close();
    await assert.rejects(authority.enrol(token, wanted, 'test'), { code: 'ca_ledger_unwritable' });
    assert.deepEqual(await checkToken(store, parseToken(token)!, Date.now()), enrolment);
  });

  it('names what it refuses beside what it grants', async (t) => {
    const { client, token } = await running(t);
    const other = identity('svc', 'payments');
    const { svids, refused } = await client.enrol([NODE, other], await token());
    assert.deepEqual(
      svids.map((svid) => svid.identity),
      [formatIdentity(NODE)],
    );
    assert.deepEqual(
      refused.map((one) => [one.identity, one.error]),
      [[formatIdentity(other), 'identity_not_allowed']],
    );
  });

  it('shows a server certificate that is nobody in the mesh', async (t) => {
    const { client, authority, url } = await running(t);
    assert.deepEqual(await client.bundle(), authority.bundle);
    const leaf = await new Promise<Buffer>((resolve, reject) => {
      const request = httpsRequest(`${url}/healthz`, {
        ca: [...authority.bundle.rootsPem],
        servername: 'ca.mesh.test',
        agent: false,
      });
      request.once('error', reject);
      request.once('response', (response) => {
        const { socket } = response;
        resolve((socket as TLSSocket).getPeerX509Certificate()!.raw);
        response.resume();
      });
      request.end();
    });
    assert.deepEqual(checkSvid(leaf, TRUST_DOMAIN), {
      ok: false,
      why: 'wanted a SPIFFE id of a service, node or edge gateway, got "spiffe://mesh.test/ca"',
    });
  });

  it('has a new server certificate before the first one ends, on the same socket', async (t) => {
    const { client, authority } = await running(t, 2_000);
    const ends = systemClock.wallMs() + 2_500;
    await eventually(async () => {
      await client.bundle();
      assert.ok(systemClock.wallMs() > ends);
    }, 8_000);
    assert.deepEqual(await client.bundle(), authority.bundle);
  });
});

describe('/v1/renew refuses', () => {
  const body = JSON.stringify({ csrs: [{ identity: formatIdentity(WEB), csr: 'x' }] });

  it('a connection without certificate', async (t) => {
    const { url, authority } = await running(t);
    const answer = await ask(url, '/v1/renew', { ca: authority.bundle.rootsPem, body });
    assert.deepEqual(answer, [401, 'certificate_required']);
  });

  it('a certificate under another root', async (t) => {
    const { url, authority } = await running(t);
    const holder = testPki(TRUST_DOMAIN).svid('svc', 'web');
    const answer = await ask(url, '/v1/renew', { ca: authority.bundle.rootsPem, body, holder });
    assert.deepEqual(answer, [401, 'certificate_refused']);
  });

  it('a certificate that has ended', async (t) => {
    const { url, authority, client, token } = await running(t, 2_000);
    const { svids } = await client.enrol([NODE], await token());
    await eventually(async () => {
      const holder = svids[0]!;
      const answer = await ask(url, '/v1/renew', { ca: authority.bundle.rootsPem, body, holder });
      assert.deepEqual(answer, [401, 'certificate_refused']);
    });
  });
});

describe('the CA refuses a body', () => {
  const rows: readonly (readonly [name: string, path: string, body: string, status: number])[] = [
    ['that is no JSON', '/v1/enrol', '{', 400],
    [
      'with an unknown field',
      '/v1/enrol',
      '{"token":"x","csrs":[{"identity":"a","csr":"b"}],"ttl":1}',
      400,
    ],
    [
      'with a number for a text',
      '/v1/enrol',
      '{"token":1,"csrs":[{"identity":"a","csr":"b"}]}',
      400,
    ],
    ['without requests', '/v1/enrol', '{"token":"x","csrs":[]}', 400],
    [
      'with too many requests',
      '/v1/renew',
      JSON.stringify({ csrs: Array.from({ length: 131 }, () => ({ identity: 'a', csr: 'b' })) }),
      400,
    ],
    ['that is too large', '/v1/enrol', JSON.stringify({ token: 'x'.repeat(300_000) }), 413],
  ];
  for (const [name, path, body, status] of rows) {
    it(name, async (t) => {
      const { url, authority } = await running(t);
      const answer = await ask(url, path, { ca: authority.bundle.rootsPem, body });
      assert.deepEqual(answer, [status, 'request_malformed']);
    });
  }

  it('from an address that asks too often', async (t) => {
    const { url, authority } = await running(t);
    const answers = await Promise.all(
      Array.from({ length: 130 }, () => ask(url, '/v1/bundle', { ca: authority.bundle.rootsPem })),
    );
    assert.ok(answers.some(([status, code]) => status === 429 && code === 'rate_limited'));
    assert.ok(answers.some(([status]) => status === 200));
  });
});

describe('CaClient', () => {
  it('says nothing to a server whose root is not the pinned one', async (t) => {
    const { url, token, fingerprint, after } = await running(t);
    const text = await token();
    const impostor = testPki(TRUST_DOMAIN);
    const { certPem, keyPem } = impostor.svid('node', 'ca');
    let heard = 0;
    const fake = createTlsServer({ cert: certPem + impostor.rootPem, key: keyPem }, (socket) => {
      socket.on('data', (chunk) => (heard += chunk.length));
      socket.on('error', () => {});
    });
    fake.listen(0, '127.0.0.1');
    await once(fake, 'listening');
    after(() => void fake.close());
    const { port } = fake.address() as AddressInfo;
    const fooled = new CaClient({ url: `https://127.0.0.1:${port}`, fingerprint: undefined });
    const shown = fingerprintOf(fromPem('CERTIFICATE', impostor.rootPem, 'test')[0]!);
    await assert.rejects(fooled.enrol([NODE], text), {
      code: 'ca_fingerprint_mismatch',
      message: `the CA at https://127.0.0.1:${port} is not the one wanted: it shows root ${shown}, wanted ${fingerprint}. Nothing was sent. Take the fingerprint from "gatemesh ca status" on the CA host; if the two still differ, another machine is answering`,
    });
    assert.equal(heard, 0);
    // And the token is still good at the right one.
    assert.equal((await new CaClient({ url, fingerprint }).enrol([NODE], text)).svids.length, 1);
  });

  it('says nothing to a member of the mesh that answers as the CA', async (t) => {
    const { client, authority, token, fingerprint, after } = await running(t);
    const { svids } = await client.enrol([NODE], await token());
    const { certPem, keyPem } = svids[0]!;
    const root = authority.directory.roots[0]!.pem;
    let heard = 0;
    const fake = createTlsServer({ cert: certPem + root, key: keyPem }, (socket) => {
      socket.on('data', (chunk) => (heard += chunk.length));
      socket.on('error', () => {});
    });
    fake.listen(0, '127.0.0.1');
    await once(fake, 'listening');
    after(() => void fake.close());
    const { port } = fake.address() as AddressInfo;
    const fooled = new CaClient({ url: `https://127.0.0.1:${port}`, fingerprint });
    await assert.rejects(fooled.enrol([NODE], await token()), {
      code: 'ca_untrusted',
      message: /it is spiffe:\/\/mesh.test\/node\/vm-a, not spiffe:\/\/mesh.test\/ca/,
    });
    assert.equal(heard, 0);
  });

  it('refuses a token for another root than the configured one before it connects', async (t) => {
    const { token } = await running(t);
    const pin = `sha256:${'0'.repeat(64)}`;
    const client = new CaClient({ url: 'https://127.0.0.1:1', fingerprint: pin });
    await assert.rejects(client.enrol([NODE], await token()), { code: 'ca_fingerprint_mismatch' });
  });

  it('ends with exit code 69 when nobody is there', async (t) => {
    const { server, client, url } = await running(t);
    await server.close();
    const { port } = new URL(url);
    await assert.rejects(client.bundle(), {
      code: 'ca_unreachable',
      exitCode: 69,
      message: `cannot reach the CA at ${url}: connect ECONNREFUSED 127.0.0.1:${port}. Is "gatemesh ca serve" running there, and the port open?`,
    });
  });

  it('does not wait for a server that accepts and is silent', async (t) => {
    const silent = createTcpServer((socket) => socket.on('error', () => {}));
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    t.after(() => void silent.close());
    const url = `https://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const fingerprint = `sha256:${'0'.repeat(64)}`;
    await assert.rejects(new CaClient({ url, fingerprint, timeoutMs: 100 }).bundle(), {
      code: 'ca_unreachable',
      message: /no answer within 0.1 s/,
    });
  });
});

describe('a client that does not finish its request', () => {
  it('is sent away about ten seconds after it began', async (t) => {
    const { after, server } = await running(t);
    const { host, port } = server.address;
    const socket = tlsConnect({ host, port, rejectUnauthorized: false });
    after(() => void socket.destroy());
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => (answer += text));
    socket.on('error', () => {});
    const began = performance.now();
    socket.write(
      'POST /v1/enrol HTTP/1.1\r\nhost: ca\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{',
    );
    await once(socket, 'close', { signal: AbortSignal.timeout(14_000) });
    assert.match(answer, /^HTTP\/1\.1 408 /);
    assert.ok(performance.now() - began > 9_000);
  });
});

describe('a node with certificates of three seconds', () => {
  it('renews over and over, and never shows one that has ended', async (t) => {
    const { client, token, after } = await running(t, 3_000);
    const dataDir = await temporaryFolder(after);
    const tokenFile = `${dataDir}/token`;
    await writeFile(tokenFile, await token());
    const keeper = new IdentityKeeper({
      client,
      dataDir,
      trustDomain: TRUST_DOMAIN,
      tokenFile,
      clock: systemClock,
      rng: Math.random,
      log: silentLog,
    });
    after(() => keeper.stop());
    const seen = new Set<string>();
    let shortestMs = Infinity;
    keeper.onMaterial(({ svids }) => {
      for (const { serial, notAfterMs } of svids.values()) {
        seen.add(serial);
        shortestMs = Math.min(shortestMs, notAfterMs - Date.now());
      }
    });
    keeper.setWanted([NODE, WEB]);
    await keeper.start();
    await eventually(() => assert.ok(seen.size >= 8, `${seen.size} certificates`), 10_000);
    assert.equal(keeper.material?.svids.size, 2);
    assert.ok(shortestMs > 0);
  });
});
