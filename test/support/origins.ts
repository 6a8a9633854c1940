import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatAddress, type Address } from '#kit/address.ts';
import { accepts } from '../../gateway/demo/addresses.ts';
import { startProcess, untilReady, type RunningProcess } from '../../gateway/demo/processes.ts';

/** A server that is not ours, at a fixed address: ended and started again it is the same instance of its service. */
export interface Origin {
  readonly address: Address;
  /** Path that answers 200 when it is well. */
  readonly healthPath: string;
  start(): Promise<void>;
  /** SIGKILL: what a crash looks like. */
  kill(): Promise<void>;
  stop(): Promise<void>;
  /** One line per request it was asked, probes left out. */
  requests(): Promise<string[]>;
}

/** Makes the origin once its place is known; `folder` is its own and empty. */
export type OriginKind = (address: Address, folder: string) => Origin;

/**
 * nginx in one process. Each answer's first line is `name`, then comes what it was told about the request:
 * `host …`, `caller …` (x-forwarded-client-cert), `request-id …`, `traceparent …`, `forwarded-for …`.
 */
export function nginx(name: string): OriginKind {
  return (address, folder) => {
    const accessLog = join(folder, 'access.log');
    const told = [
      name,
      'host $http_host',
      'caller $http_x_forwarded_client_cert',
      'request-id $http_x_request_id',
      'traceparent $http_traceparent',
      'forwarded-for $http_x_forwarded_for',
    ];
    const config = `
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  log_format asked '$time_iso8601 $status "$request" $http_x_forwarded_client_cert';
  access_log ${accessLog} asked;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${folder}/${kind};`)
    .join('\n  ')}
  default_type text/plain;
  keepalive_requests 1000000;
  server {
    listen ${formatAddress(address)};
    location = /healthz { access_log off; return 200 'ok\\n'; }
    location / { return 200 '${told.join('\\n')}\\n'; }
  }
}
`;
    const configFile = join(folder, 'nginx.conf');
    return origin({
      name,
      address,
      folder,
      healthPath: '/healthz',
      prepare: () => writeFile(configFile, config),
      command: 'nginx',
      args: ['-e', 'stderr', '-p', folder, '-c', configFile],
      requests: async () => lines(await readFile(accessLog, 'utf8')),
    });
  };
}

/** `python3 -m http.server` over a folder with one file, whose only line is `name`. */
export function pythonFiles(name: string): OriginKind {
  return (address, folder) => {
    const files = join(folder, 'files');
    const place = ['--bind', address.host, '--protocol', 'HTTP/1.1', '--directory', files];
    return origin({
      name,
      address,
      folder,
      healthPath: '/healthz',
      prepare: async () => {
        await mkdir(files, { recursive: true });
        await writeFile(join(files, 'index.html'), `${name}\n`);
        await writeFile(join(files, 'healthz'), 'ok\n');
      },
      command: 'python3',
      args: ['-u', '-m', 'http.server', String(address.port), ...place],
      requests: async () => {
        const log = lines(await readFile(join(folder, `${name}.log`), 'utf8'));
        return log.filter((line) => line.includes('"') && !line.includes('/healthz'));
      },
    });
  };
}

function origin(options: {
  readonly name: string;
  readonly address: Address;
  readonly folder: string;
  readonly healthPath: string;
  readonly prepare: () => Promise<void>;
  readonly command: string;
  readonly args: readonly string[];
  readonly requests: () => Promise<string[]>;
}): Origin {
  const { name, address, folder, healthPath, command, args } = options;
  let running: RunningProcess | undefined;
  return {
    address,
    healthPath,
    async start() {
      await options.prepare();
      const logFile = join(folder, `${name}.log`);
      running = await startProcess({ name, command, args, logFile });
      await untilReady(running, () => accepts(address), 10_000);
    },
    async kill() {
      await running?.kill('SIGKILL');
      running = undefined;
    },
    async stop() {
      await running?.stop();
      running = undefined;
    },
    requests: options.requests,
  };
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}
