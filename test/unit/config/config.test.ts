import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EXIT } from '#kit/errors.ts';
import { loadGatewayConfig, parseGatewayConfig } from '../../../gateway/config.ts';

const FINGERPRINT = `sha256:${'a'.repeat(64)}`;

const FULL = `
node: vm-a
zone: dc1-a
dataDir: /srv/gatemesh
workers: 2
registry:
  etcd:
    endpoints: [https://10.0.0.10:2379, https://10.0.0.11:2379/]
    prefix: /gatemesh/v1
    caFile: /etc/ca.pem
    certFile: /etc/cert.pem
    keyFile: /etc/key.pem
identity:
  ca: https://10.0.0.10:15444
  caFingerprint: ${FINGERPRINT.toUpperCase().replace('SHA', 'sha')}
  tokenFile: /run/gatemesh/token
mesh: { listen: 0.0.0.0:15443, advertise: 10.0.0.1:15443 }
egress:
  listen: 127.0.0.1:15001
  listeners: [{ listen: 127.0.0.1:9001, to: payments, as: web }]
admin: { listen: 127.0.0.1:15000, socket: /run/gatemesh/admin.sock }
gateway: public
accessLog: false
logLevel: debug
services:
  - service: web
    address: 127.0.0.1:8000
`;

const ORDERS = `
service: orders
address: 127.0.0.1:8080
protocol: http
weight: 10
meta: { version: "1" }
check: { http: /healthz, interval: 1s, timeout: 500ms, rise: 1, fall: 4 }
`;

const EMBEDDED = 'registry: { embedded: {} }\n';
const HOST = { hostname: 'vm-a' };

describe('parseGatewayConfig', () => {
  it('reads everything that can be said', () => {
    const services = [{ file: 'services.d/orders.yaml', text: ORDERS }];
    assert.deepEqual(parseGatewayConfig(FULL, 'gateway.yaml', { services }), {
      node: 'vm-a',
      zone: 'dc1-a',
      dataDir: '/srv/gatemesh',
      workers: 2,
      registry: {
        kind: 'etcd',
        endpoints: ['https://10.0.0.10:2379', 'https://10.0.0.11:2379'],
        prefix: '/gatemesh/v1',
        caFile: '/etc/ca.pem',
        certFile: '/etc/cert.pem',
        keyFile: '/etc/key.pem',
      },
      identity: {
        ca: 'https://10.0.0.10:15444',
        caFingerprint: FINGERPRINT,
        tokenFile: '/run/gatemesh/token',
      },
      mesh: {
        listen: { host: '0.0.0.0', port: 15_443 },
        advertise: { host: '10.0.0.1', port: 15_443 },
      },
      egress: {
        listen: { host: '127.0.0.1', port: 15_001 },
        listeners: [{ listen: { host: '127.0.0.1', port: 9_001 }, to: 'payments', as: 'web' }],
      },
      admin: { listen: { host: '127.0.0.1', port: 15_000 }, socket: '/run/gatemesh/admin.sock' },
      gateway: 'public',
      accessLog: false,
      logLevel: 'debug',
      services: [
        {
          service: 'web',
          address: { host: '127.0.0.1', port: 8_000 },
          protocol: 'http',
          weight: 100,
          meta: {},
          check: { kind: 'tcp', intervalMs: 5_000, timeoutMs: 2_000, rise: 2, fall: 3 },
        },
        {
          service: 'orders',
          address: { host: '127.0.0.1', port: 8_080 },
          protocol: 'http',
          weight: 10,
          meta: { version: '1' },
          check: {
            kind: 'http',
            path: '/healthz',
            intervalMs: 1_000,
            timeoutMs: 500,
            rise: 1,
            fall: 4,
          },
        },
      ],
    });
  });

  it('fills in the defaults, from JSON too', () => {
    const json = '{\n\t"registry": {"embedded": {}}\n}\n';
    assert.deepEqual(parseGatewayConfig(json, 'gateway.json', { hostname: 'VM-a.example' }), {
      node: 'vm-a.example',
      zone: 'default',
      dataDir: '/var/lib/gatemesh',
      workers: 1,
      registry: { kind: 'embedded', file: '/var/lib/gatemesh/registry.db' },
      mesh: {
        listen: { host: '0.0.0.0', port: 15_443 },
        advertise: { host: '127.0.0.1', port: 15_443 },
      },
      egress: { listen: { host: '127.0.0.1', port: 15_001 }, listeners: [] },
      admin: {
        listen: { host: '127.0.0.1', port: 15_000 },
        socket: '/var/lib/gatemesh/admin.sock',
      },
      services: [],
      accessLog: true,
    });
  });

  it('leaves the advertised address open where the port is not known yet', () => {
    const config = parseGatewayConfig(`${EMBEDDED}mesh: { listen: 127.0.1.1:0 }`, 'g.yaml', HOST);
    assert.deepEqual(config.mesh, { listen: { host: '127.0.1.1', port: 0 } });
  });

  it('takes certificates that are already there, without a CA', () => {
    const text = `registry: { etcd: { endpoints: [http://127.0.0.1:2379] } }
mesh: { listen: 127.0.0.1:0 }
identity: { certFile: /c, keyFile: /k, bundleFile: /b }`;
    assert.deepEqual(parseGatewayConfig(text, 'g.yaml', HOST).identity, {
      files: { certFile: '/c', keyFile: '/k', bundleFile: '/b' },
    });
  });

  const ADDRESS = 'an address such as "127.0.0.1:8080" or "[::1]:8080"';
  const refused: readonly [name: string, text: string, ...problems: string[]][] = [
    [
      'a misspelt field',
      `${EMBEDDED}mesh:\n  listne: 127.0.0.1:1\n`,
      'g.yaml:3: $.mesh.listne: wanted one of listen, advertise; got the unknown field "listne". Did you mean "listen"?',
    ],
    [
      'everything at once, in the order of the lines',
      `${EMBEDDED}zone: DC 1\nworkers: 0\ndataDir: data\n`,
      'g.yaml:2: $.zone: wanted a name of at most 63 lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit; got "DC 1"',
      'g.yaml:3: $.workers: wanted an integer from 1 to 64; got 0',
      'g.yaml:4: $.dataDir: wanted an absolute path such as "/etc/gatemesh/tls/shop.pem"; got "data"',
    ],
    [
      'no registry',
      'node: vm-a\n',
      'g.yaml:1: $.registry: wanted an object with etcd, embedded; got nothing',
    ],
    [
      'two registries',
      'registry:\n  embedded: {}\n  etcd: { endpoints: [http://a:1] }\nidentity: { ca: https://a:1, tokenFile: /t }\nmesh: { listen: 127.0.0.1:0 }\n',
      'g.yaml:1: $.registry: wanted one of etcd and embedded; got both',
    ],
    [
      'etcd without an identity, together with a slip',
      'registry: { etcd: { endpoints: [http://a:1] } }\nworkers: two\n',
      'g.yaml:1: $.identity: wanted where certificates come from, since the registry is etcd: ca and tokenFile; got nothing',
      'g.yaml:2: $.workers: wanted an integer from 1 to 64; got "two"',
    ],
    [
      'an endpoint without scheme',
      'registry: { embedded: {}, etcd: { endpoints: ["10.0.0.1:2379"] } }\nidentity: {}\n',
      'g.yaml:1: $.registry.etcd.endpoints[0]: wanted an address such as "https://10.0.0.10:2379"; got "10.0.0.1:2379"',
      'g.yaml:2: $.identity.tokenFile: wanted the file of a token (gatemesh ca token), or certFile, keyFile and bundleFile; got nothing',
      'g.yaml:2: $.identity.ca: wanted the address of the CA such as "https://10.0.0.10:15444"; got nothing',
    ],
    [
      'a client certificate without its key',
      'registry: { etcd: { endpoints: [https://a:1], certFile: /c } }\nidentity: { ca: https://a:1, tokenFile: /t }\n',
      'g.yaml:1: $.registry.etcd.keyFile: wanted certFile and keyFile together; got nothing',
    ],
    [
      'a mesh address nobody can dial',
      'registry: { etcd: { endpoints: [http://a:1] } }\nidentity: { ca: https://a:1, tokenFile: /t }\n',
      'g.yaml:1: $.mesh.advertise: wanted the address at which other gateways dial this one such as "10.0.0.1:15443", since mesh.listen is 0.0.0.0:15443; got nothing',
    ],
    [
      'an admin address that others reach',
      `${EMBEDDED}admin: { listen: 0.0.0.0:15000 }\n`,
      `g.yaml:2: $.admin.listen: wanted ${ADDRESS} of this machine only (127.0.0.0/8, ::1); got "0.0.0.0:15000"`,
    ],
    [
      'two listeners on one address',
      `${EMBEDDED}egress: { listen: 127.0.0.1:15000 }\n`,
      'g.yaml:2: $.egress.listen: wanted an address of its own; got "127.0.0.1:15000", which is admin.listen',
    ],
    [
      'what later versions can do',
      `${EMBEDDED}services:\n  - service: a\n    address: 127.0.0.1:1\n    protocol: udp\n    user: A\n    check: { unit: a.service }\n`,
      'g.yaml:5: $.services[0].protocol: wanted one of "http", "http2", "grpc", "tcp"; got "udp"',
      'g.yaml:6: $.services[0].user: wanted the name of a Unix user such as "orders"; got "A"',
      'g.yaml:7: $.services[0].check.unit: wanted one of http, tcp, interval, timeout, rise, fall; got "unit", which is not supported by this version',
    ],
    [
      'a number where a text belongs',
      `${EMBEDDED}services:\n  - service: a\n    address: 127.0.0.1:1\n    meta:\n      version: 1\n`,
      'g.yaml:6: $.services[0].meta.version: wanted a text in quotes, without control characters; got 1',
    ],
    [
      'one instance twice',
      `${EMBEDDED}services:\n  - { service: a, address: "127.0.0.1:1" }\n  - { service: a, address: "127.0.0.1:1" }\n`,
      'g.yaml:4: $.services[1].address: wanted an address that no other instance of a has; got "127.0.0.1:1", which is also in g.yaml:3',
    ],
    [
      'a service that is the gateway itself',
      `${EMBEDDED}mesh: { listen: "0.0.0.0:7" }\negress: { listen: "127.0.0.1:9", listeners: [{ listen: "127.0.0.1:8" }] }\nservices:\n  - { service: a, address: "localhost:9" }\n  - { service: b, address: "127.0.0.1:8" }\n  - { service: c, address: "127.0.0.2:9" }\n  - { service: d, address: "127.0.0.3:7" }\n`,
      'g.yaml:5: $.services[0].address: wanted where the service listens; got "localhost:9", which is egress.listen of this gateway',
      'g.yaml:6: $.services[1].address: wanted where the service listens; got "127.0.0.1:8", which is egress.listeners[0].listen of this gateway',
      'g.yaml:8: $.services[3].address: wanted where the service listens; got "127.0.0.3:7", which is mesh.listen of this gateway',
    ],
    [
      'one user for two services',
      `${EMBEDDED}services:\n  - { service: a, address: "127.0.0.1:1", user: u }\n  - { service: b, address: "127.0.0.1:1", user: u }\n`,
      'g.yaml:4: $.services[1].user: wanted a user that runs no other service; got "u", which is a\'s: their calls could not be told apart',
    ],
    [
      'broken YAML',
      'registry: { embedded: {}\n',
      'g.yaml:2: $: wanted valid YAML; got Flow map in block collection must be sufficiently indented and end with a }',
    ],
    [
      'a field given twice',
      'node: a\nnode: b\n',
      'g.yaml:2: $: wanted valid YAML; got Map keys must be unique',
    ],
  ];
  for (const [name, text, ...problems] of refused) {
    it(`refuses ${name}`, () => {
      const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
      assert.throws(() => parseGatewayConfig(text, 'g.yaml', HOST), {
        code: 'config_invalid',
        exitCode: EXIT.usage,
        message: `${count} in the configuration:\n${problems.map((p) => `  ${p}`).join('\n')}`,
      });
    });
  }

  it('takes a TCP service, and checks it by TCP', () => {
    const text = `${EMBEDDED}services: [{ service: db, address: "127.0.0.1:5432", protocol: tcp }]\n`;
    const [service] = parseGatewayConfig(text, 'g.yaml', HOST).services;
    assert.equal(service?.protocol, 'tcp');
    assert.equal(service.check.kind, 'tcp');
  });

  it('asks for a node name where the host name is none', () => {
    assert.throws(() => parseGatewayConfig(EMBEDDED, 'g.yaml', { hostname: 'vm_a' }), {
      message: /\$\.node: wanted a name .*, since the host name \("vm_a"\) is none; got nothing/,
    });
  });

  it('survives aliases that unfold without end', () => {
    const layers = Array.from(
      { length: 9 },
      (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`,
    );
    const text = `a0: &a0 [x]\n${layers.join('\n')}\n`;
    assert.throws(() => parseGatewayConfig(text, 'g.yaml', HOST), { code: 'config_invalid' });
  });
});

describe('loadGatewayConfig', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatemesh-config-'));
    await mkdir(join(folder, 'services.d'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('adds the files of services.d in order, and no left-overs of editors', async () => {
    const file = join(folder, 'gateway.yaml');
    await writeFile(file, `node: vm-a\n${EMBEDDED}`);
    await writeFile(join(folder, 'services.d/b.json'), '{"service":"b","address":"127.0.0.1:2"}');
    await writeFile(join(folder, 'services.d/a.yaml'), 'service: a\naddress: 127.0.0.1:1\n');
    await writeFile(join(folder, 'services.d/a.yaml~'), 'nonsense');
    await writeFile(join(folder, 'services.d/.c.yaml'), 'nonsense');
    const { services } = await loadGatewayConfig(file);
    assert.deepEqual(
      services.map(({ service }) => service),
      ['a', 'b'],
    );
  });

  it('lists the problems of every file', async () => {
    const file = join(folder, 'gateway.yaml');
    const extra = join(folder, 'services.d/z.yaml');
    await writeFile(file, `node: vm-a\n${EMBEDDED}worker: 2\n`);
    await writeFile(extra, 'service: z\naddress: 8080\n');
    try {
      await assert.rejects(loadGatewayConfig(file), (error: Error) => {
        assert.match(error.message, new RegExp(`^2 problems .*\n  ${file}:3: \\$\\.worker: `));
        assert.match(error.message, new RegExp(`\n  ${extra}:2: \\$\\.address: .*; got 8080$`));
        return true;
      });
    } finally {
      await rm(extra);
    }
  });

  it('says which file cannot be read, and why', async () => {
    const file = join(folder, 'none.yaml');
    await assert.rejects(loadGatewayConfig(file), {
      code: 'config_unreadable',
      exitCode: EXIT.usage,
      message: `cannot read ${file}: there is no such file; name it with --config FILE`,
    });
    await assert.rejects(loadGatewayConfig(folder), {
      message: `cannot read ${folder}: it is a directory; name the file in it`,
    });
  });
});
