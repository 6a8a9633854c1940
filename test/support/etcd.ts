import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from './eventually.ts';

export interface EtcdTls {
  readonly caFile: string;
  /** Of the client whose common name is `root`. */
  readonly certFile: string;
  readonly keyFile: string;
}

export interface TestEtcd {
  /** `http://127.0.0.1:40123` */
  readonly url: string;
  readonly endpoints: readonly string[];
  readonly port: number;
  readonly tls: EtcdTls | undefined;
  /** Makes a further client certificate signed by the same CA; only with TLS. */
  clientCertificate(commonName: string): Promise<EtcdTls>;
  /** Runs etcdctl against it and returns its standard output; rejects when it fails. */
  etcdctl(...args: readonly string[]): Promise<string>;
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void;
  resume(): void;
  /** SIGKILL; the data stays, so that `restart` goes on with it. */
  kill(): Promise<void>;
  /** Ends it and starts it again on the same port; with `wipe`, empty. */
  restart(options?: { readonly wipe?: boolean }): Promise<void>;
  /** Ends it and removes its data. */
  stop(): Promise<void>;
}

const run = promisify(execFile);

/** A real etcd of one member on 127.0.0.1 with its data in a temporary folder. Always `stop()` it. */
export async function startEtcd(options: { readonly tls?: boolean } = {}): Promise<TestEtcd> {
  const folder = await mkdtemp(join(tmpdir(), 'gatemesh-etcd-'));
  const tls = options.tls === true ? await makeCertificates(folder) : undefined;
  const [port, peerPort] = await freePorts(2);
  const scheme = tls === undefined ? 'http' : 'https';
  const url = `${scheme}://127.0.0.1:${port}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const dataDir = join(folder, 'data');
  let child: ChildProcess | undefined;

  const args = [
    ...['--name', 'test', '--data-dir', dataDir, '--unsafe-no-fsync', '--logger', 'zap'],
    ...['--listen-client-urls', url, '--advertise-client-urls', url],
    ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
    ...['--initial-cluster', `test=${peerUrl}`],
    ...(tls === undefined
      ? []
      : [
          ...['--cert-file', join(folder, 'server.crt'), '--key-file', join(folder, 'server.key')],
          ...['--client-cert-auth', '--trusted-ca-file', tls.caFile],
        ]),
  ];
  const ctlArgs =
    tls === undefined ? [] : ['--cacert', tls.caFile, '--cert', tls.certFile, '--key', tls.keyFile];

  const etcdctl = async (...more: readonly string[]): Promise<string> => {
    const all = ['--endpoints', url, '--command-timeout', '3s', ...ctlArgs, ...more];
    const env = { ...process.env, ETCDCTL_API: '3' };
    return (await run('etcdctl', all, { env, maxBuffer: 64 * 1024 * 1024 })).stdout;
  };

  const killOnExit = () => child?.kill('SIGKILL');
  process.on('exit', killOnExit);

  const start = async (): Promise<void> => {
    // A fresh token keeps a wiped member from taking up with what it was; same port, another cluster id.
    const token = `test-${process.hrtime.bigint()}`;
    const started = spawn('etcd', [...args, '--initial-cluster-token', token], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child = started;
    let said = '';
    started.stderr.on(
      'data',
      (chunk: Buffer) => void (said = (said + String(chunk)).slice(-2_000)),
    );
    await eventually(async () => {
      if (started.exitCode !== null)
        throw new Error(`etcd ended with ${started.exitCode}: ${said}`);
      await etcdctl('endpoint', 'health');
    }, 15_000);
  };

  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const exited = once(ending, 'exit');
    ending.kill(signal);
    ending.kill('SIGCONT');
    await exited;
  };

  const stop = async (): Promise<void> => {
    await end('SIGKILL');
    process.off('exit', killOnExit);
    await rm(folder, { recursive: true, force: true });
  };

  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url,
    endpoints: [url],
    port: port!,
    tls,
    etcdctl,
    clientCertificate: (commonName) => makeClientCertificate(folder, commonName),
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    kill: () => end('SIGKILL'),
    async restart({ wipe = false } = {}) {
      await end('SIGKILL');
      if (wipe) await rm(dataDir, { recursive: true, force: true });
      await start();
    },
    stop,
  };
}

/** Ports that were free a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    ports.push(address.port);
  }
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function makeCertificates(folder: string): Promise<EtcdTls> {
  openssl(folder, 'req', '-x509', ...newKey('ca'), '-subj', '/CN=test etcd CA', '-days', '2');
  // The address only: the gateway's configuration names members by address.
  await makeCertificate(folder, 'server', '/CN=etcd', 'subjectAltName=IP:127.0.0.1');
  return makeClientCertificate(folder, 'root');
}

async function makeClientCertificate(folder: string, commonName: string): Promise<EtcdTls> {
  await makeCertificate(folder, commonName, `/CN=${commonName}`, 'extendedKeyUsage=clientAuth');
  return {
    caFile: join(folder, 'ca.crt'),
    certFile: join(folder, `${commonName}.crt`),
    keyFile: join(folder, `${commonName}.key`),
  };
}

async function makeCertificate(folder: string, name: string, subject: string, extension: string) {
  await writeFile(join(folder, `${name}.ext`), extension);
  openssl(folder, 'req', ...newKey(name, 'csr'), '-subj', subject);
  const ca = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial'];
  const files = ['-in', `${name}.csr`, '-out', `${name}.crt`, '-extfile', `${name}.ext`];
  openssl(folder, 'x509', '-req', ...files, ...ca, '-days', '2');
}

function newKey(name: string, output = 'crt'): string[] {
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  return [...curve, '-keyout', `${name}.key`, '-out', `${name}.${output}`];
}

function openssl(folder: string, ...args: readonly string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
}
