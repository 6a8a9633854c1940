import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createLog } from '#kit/log.ts';
import type {
  CertificateDocument,
  GatewayDocument,
  GatewayListener,
} from '../../registry/documents/types.ts';
import type { ListenerSpec } from '../../gateway/ipc.ts';
import { EdgeListeners } from '../../gateway/supervisor/edge-listeners.ts';
import { bindListener } from '../../gateway/supervisor/listen-sockets.ts';

const HTTP: GatewayListener = {
  address: '127.0.0.1',
  port: 0,
  protocol: 'http',
  certificates: [],
  tlsMin: '1.2',
};

function gateway(...listeners: readonly GatewayListener[]): GatewayDocument {
  return { name: 'public', listeners, trustedProxies: [] };
}

describe('EdgeListeners', () => {
  let folder: string;
  let calls: string[];
  let specs: ListenerSpec[];
  let edge: EdgeListeners;
  const none = (): undefined => undefined;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatemesh-edge-'));
    calls = [];
    specs = [];
    edge = new EdgeListeners({
      host: {
        listen: (spec) => {
          calls.push(`listen ${spec.id}`);
          specs.push(spec);
        },
        unlisten: (id) => calls.push(`unlisten ${id}`),
      },
      bind: bindListener,
      log: createLog({ level: 'silent' }),
    });
  });

  afterEach(async () => {
    edge.close();
    await rm(folder, { recursive: true });
  });

  it('opens listeners for TCP, with or without a look at the TLS in it', async () => {
    const passthrough = { ...HTTP, address: '127.0.0.2', protocol: 'tls-passthrough' } as const;
    await edge.update(gateway({ ...HTTP, protocol: 'tcp' }, passthrough), none);
    const common = { kind: 'edge-tcp', gateway: 'public', port: 0 };
    assert.deepEqual(specs, [
      { id: 'edge 127.0.0.1:0', ...common, isTls: false },
      { id: 'edge 127.0.0.2:0', ...common, isTls: true },
    ]);
  });

  it('come and go with the document', async () => {
    await edge.update(gateway(HTTP), none);
    await edge.update(gateway(HTTP), none);
    assert.deepEqual(calls, ['listen edge 127.0.0.1:0']);
    assert.equal(edge.states[0]?.error, undefined);
    await edge.update(undefined, none);
    assert.deepEqual(calls, ['listen edge 127.0.0.1:0', 'unlisten edge 127.0.0.1:0']);
    assert.deepEqual(edge.states, []);
  });

  it('are told anew when only their settings change, on the same socket', async () => {
    await edge.update(gateway(HTTP), none);
    const { port } = edge.states[0]!.address;
    await edge.update({ ...gateway(HTTP), trustedProxies: ['10.0.0.0/8'] }, none);
    assert.deepEqual(calls, ['listen edge 127.0.0.1:0', 'listen edge 127.0.0.1:0']);
    assert.equal(edge.states[0]!.address.port, port);
  });

  const failures: readonly [
    name: string,
    listener: GatewayListener,
    certificate: CertificateDocument | undefined,
    error: RegExp,
  ][] = [
    [
      'an address that is not here',
      { ...HTTP, address: '192.0.2.1' },
      undefined,
      /^192\.0\.2\.1:0 \(config\/gateways\/public\) is not an address of this machine/,
    ],
    [
      'a certificate without a document',
      { ...HTTP, address: '127.0.0.2', protocol: 'https', certificates: ['shop'] },
      undefined,
      /^config\/certificates\/shop does not exist$/,
    ],
    [
      'a key file that is not there',
      { ...HTTP, address: '127.0.0.2', protocol: 'https', certificates: ['shop'] },
      { name: 'shop', hosts: [], certFile: '/nowhere/cert.pem', keyFile: '/nowhere/key.pem' },
      /^config\/certificates\/shop: (cert|key)File cannot be read: ENOENT.*give this user the right to read it$/,
    ],
    [
      'files that hold something else',
      { ...HTTP, address: '127.0.0.2', protocol: 'https', certificates: ['shop'] },
      { name: 'shop', hosts: [], certFile: '/etc/hostname', keyFile: '/etc/hostname' },
      /are not a certificate with its key/,
    ],
  ];
  for (const [name, listener, certificate, error] of failures) {
    it(`${name}: says so and leaves the others alone`, async () => {
      await edge.update(gateway(listener, HTTP), () => certificate);
      const [bad, good] = edge.states;
      assert.match(bad?.error ?? '', error);
      assert.equal(good?.error, undefined);
      assert.deepEqual(calls, ['listen edge 127.0.0.1:0']);
    });
  }
});
