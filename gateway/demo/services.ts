import type { IncomingMessage, RequestOptions, Server } from 'node:http';
import { Agent, createServer, request } from '#kit/http.ts';
import { messageOf } from '#kit/errors.ts';
import type { Address } from '#kit/address.ts';

/** A sample service: an ordinary HTTP server that knows nothing of the mesh. */
export interface SampleService {
  readonly name: string;
  readonly version: string;
  readonly node: string;
  readonly address: Address;
  /** Harmless when it runs already. */
  start(): Promise<void>;
  /** Ends it as a crash would: the socket closes and so does every connection. */
  stop(): Promise<void>;
}

export interface SampleOptions {
  readonly name: string;
  readonly version: string;
  readonly node: string;
  readonly address: Address;
  /** The services it calls for every request, and the egress listener it calls them through. */
  readonly calls?: readonly string[];
  readonly egress?: Address;
}

/** What one of these services answers, in one line: `orders v1 on vm-b, called by spiffe://mesh.internal/svc/web`. */
export interface Answer {
  readonly service: string;
  readonly version: string;
  readonly node: string;
  readonly caller: string;
}

const ANSWER = /^(\S+) v(\S+) on (\S+), called by (\S+)$/;

export function formatAnswer({ service, version, node, caller }: Answer): string {
  return `${service} v${version} on ${node}, called by ${caller}`;
}

/** Every answer in a response: the service's own line, then those of the services it called. */
export function parseAnswers(body: string): Answer[] {
  return body.split('\n').flatMap((line) => {
    const match = ANSWER.exec(line.replace(/^ +-> /, ''));
    if (match === null) return [];
    return [{ service: match[1]!, version: match[2]!, node: match[3]!, caller: match[4]! }];
  });
}

export function sampleService(options: SampleOptions): SampleService {
  const { name, version, node, address, calls = [], egress } = options;
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  let server: Server | undefined;

  async function answer(incoming: IncomingMessage): Promise<{ status: number; body: string }> {
    const own = formatAnswer({ service: name, version, node, caller: callerOf(incoming) });
    if (egress === undefined) return { status: 200, body: `${own}\n` };
    const called = await Promise.all(
      calls.map((service) => get({ address: egress, host: `${service}.mesh`, agent })),
    );
    const lines = called.map(({ body }) => `  -> ${body.trimEnd()}`);
    const failed = called.some(({ status }) => status !== 200);
    return { status: failed ? 502 : 200, body: `${[own, ...lines].join('\n')}\n` };
  }

  return {
    name,
    version,
    node,
    address,
    async start() {
      if (server !== undefined) return;
      const started = createServer((incoming, response) => {
        incoming.resume();
        if (incoming.url === '/healthz') {
          response.end('ok\n');
          return;
        }
        void answer(incoming).then(({ status, body }) => {
          response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' });
          response.end(body);
        });
      });
      await new Promise<void>((resolve, reject) => {
        started.once('error', reject);
        started.listen(address.port, address.host, resolve);
      });
      server = started;
    },
    async stop() {
      const stopped = server;
      server = undefined;
      agent.destroy();
      if (stopped === undefined) return;
      const closed = new Promise((resolve) => stopped.close(resolve));
      stopped.closeAllConnections();
      await closed;
    },
  };
}

/** The verified caller: the `URI=` of the header that the gateway in front sets and nobody else can. */
function callerOf({ headers }: IncomingMessage): string {
  const header = headers['x-forwarded-client-cert'];
  return /(?:^|;)URI="?([^;,"]+)/.exec(String(header ?? ''))?.[1] ?? 'nobody';
}

export interface Got {
  /** 0 when no response came; the reason is in `body` then. */
  readonly status: number;
  readonly body: string;
}

/** One GET; a failure is an outcome, not an exception, because failed requests are what gets counted. */
export function get(options: {
  readonly address: Address;
  readonly host: string;
  readonly path?: string;
  readonly agent?: RequestOptions['agent'];
}): Promise<Got> {
  const { address, host, path = '/', agent } = options;
  return new Promise((resolve) => {
    const outgoing = request(
      { host: address.host, port: address.port, path, headers: { host }, agent, timeout: 5_000 },
      (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (body += chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
        response.on('error', (error) => resolve({ status: 0, body: messageOf(error) }));
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 5 s')));
    outgoing.on('error', (error) => resolve({ status: 0, body: messageOf(error) }));
    outgoing.end();
  });
}
