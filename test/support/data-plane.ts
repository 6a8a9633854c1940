import { fork, type ChildProcess } from 'node:child_process';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import type { IdentityMaterial } from '../../ca/identity.ts';
import type {
  FromWorker,
  ListenerSpec,
  ToWorker,
  WorkerQuestion,
  WorkerReply,
} from '../../gateway/ipc.ts';
import type { TypedDocument } from '../../registry/documents/types.ts';
import { parseDocument } from '../../registry/documents/parse.ts';
import { bindListener } from '../../gateway/supervisor/listen-sockets.ts';

const WORKER = fileURLToPath(new URL('../../gateway/worker/main.ts', import.meta.url));

/** A real worker process with this test in the supervisor's place. */
export interface TestWorker {
  readonly child: ChildProcess;
  /** Binds a free port on `host`, hands it over, and resolves to the port once the worker accepts. */
  listen(listener: ListenerSpec, host?: string): Promise<number>;
  /** Registry key to document text; replaces everything. */
  tables(documents: Readonly<Record<string, unknown>>): Promise<void>;
  identity(material: IdentityMaterial): void;
  ask(question: WorkerQuestion): Promise<WorkerReply>;
  send(message: ToWorker): void;
  stop(): Promise<void>;
}

export async function startWorker(
  node: string,
  trustDomain = 'mesh.internal',
): Promise<TestWorker> {
  const child = fork(WORKER, [], {
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, GATEMESH_LOG_LEVEL: process.env['GATEMESH_LOG_LEVEL'] ?? 'fatal' },
  });
  const heard: FromWorker[] = [];
  let wake = (): void => {};
  child.on('message', (message) => {
    heard.push(message as FromWorker);
    wake();
  });
  child.once('exit', () => wake());
  const until = async <T extends FromWorker>(
    wanted: (message: FromWorker) => message is T,
  ): Promise<T> => {
    for (;;) {
      const index = heard.findIndex(wanted);
      if (index >= 0) return heard.splice(index, 1)[0] as T;
      if (child.exitCode !== null) throw new Error(`the worker exited with ${child.exitCode}`);
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  const send = (message: ToWorker): void => void child.send(message);
  let revision = 0;
  let question = 0;
  send({
    type: 'settings',
    settings: {
      node,
      zone: 'z',
      trustDomain,
      nodeIdentity: `spiffe://${trustDomain}/node/${node}`,
      gateway: undefined,
      accessLog: false,
      adminAddress: undefined,
    },
  });
  await until(
    (message): message is Extract<FromWorker, { type: 'ready' }> => message.type === 'ready',
  );
  return {
    child,
    send,
    async listen(listener, host = '127.0.0.1') {
      const { handle, address } = await bindListener({ host, port: 0 }, 'test');
      child.send({ type: 'listen', listener } satisfies ToWorker, handle);
      const done = await until(
        (message): message is Extract<FromWorker, { type: 'listening' | 'listen-failed' }> =>
          (message.type === 'listening' || message.type === 'listen-failed') &&
          message.id === listener.id,
      );
      if (done.type === 'listen-failed') throw new Error(done.error);
      return address.port;
    },
    async tables(documents) {
      const put = Object.entries(documents).map(([key, document]): [string, TypedDocument] => {
        const parsed = parseDocument(key, JSON.stringify(document));
        if (!parsed.ok) throw new Error(`${key}: ${JSON.stringify(parsed.problems)}`);
        return [key, parsed.typed];
      });
      revision++;
      send({ type: 'tables', change: { revision, reset: true, put, deleted: [] } });
      await until(
        (message): message is Extract<FromWorker, { type: 'applied' }> =>
          message.type === 'applied' && message.revision === revision,
      );
    },
    identity: (material) => send({ type: 'identity', material }),
    async ask(asked) {
      const id = ++question;
      send({ type: 'ask', id, question: asked });
      const { reply } = await until(
        (message): message is Extract<FromWorker, { type: 'reply' }> =>
          message.type === 'reply' && message.id === id,
      );
      return reply;
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    },
  };
}

/** An instance document as a gateway would register it. */
export function instance(meshPort: number, appPort: number, more: object = {}): object {
  return {
    address: `127.0.0.1:${meshPort}`,
    app: `127.0.0.1:${appPort}`,
    protocol: 'http',
    weight: 100,
    zone: 'z',
    meta: {},
    state: 'ready',
    health: 'passing',
    since: '2026-01-01T00:00:00Z',
    ...more,
  };
}

/** Sends bytes, collects what comes back until the server closes or `until` says it is enough. */
export async function exchangeBytes(
  port: number,
  bytes: string | Buffer,
  until: (received: string) => boolean = () => false,
): Promise<string> {
  return await new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    let received = '';
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      if (until(received)) socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
  });
}
