import { Agent, type RequestOptions } from 'node:https';
import type { Duplex } from 'node:stream';
import { connect, type PeerCertificate } from 'node:tls';
import { fastifyHttpProxy } from '@fastify/http-proxy';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { checkSvid, formatIdentity, parseIdentity } from '../../ca/identity.ts';
import { formatAddress } from '#kit/address.ts';
import { messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { nearest } from '#kit/nearest.ts';
import type { AdminSource, NodeAdminTarget } from './source.ts';

/** For the answer's head, and between two pieces of it. */
const ANSWER_MS = 4_000;
/** Node's request timeout counts a handshake that hangs twice, so that has a limit of its own. */
const HANDSHAKE_MS = 2_000;

/** All that another node's answer may say about itself; the rest of the header is ours. */
const PASSED_ON = ['content-type', 'content-length', 'cache-control'] as const;

/**
 * `/nodes/<node>/…`: another node's admin API, read through its mesh port over mutual TLS with node identities.
 * One hop only. What comes back is data: a page or script of the other node never runs under our origin.
 */
export function relayNodes(app: FastifyInstance, source: AdminSource, log: Log): void {
  const agent = new NodeAgent();
  app.addHook('onClose', () => agent.destroy());

  void app.register(fastifyHttpProxy, {
    prefix: '/nodes/:node',
    routes: ['/*'],
    httpMethods: ['GET', 'HEAD'],
    upstream: '',
    disableCache: true,
    disableRequestLogging: true,
    internalRewriteLocationHeader: false,
    // reply-from switches certificate verification off unless told otherwise, and wants both agents.
    http: {
      agents: { 'http:': agent, 'https:': agent },
      requestOptions: { rejectUnauthorized: true, timeout: ANSWER_MS },
    },
    preHandler(request, reply, done) {
      const refusal = refusalOf(request, source);
      if (refusal === undefined) {
        done();
        return;
      }
      const { status, ...body } = refusal;
      void reply.code(status).send(body);
    },
    replyOptions: {
      getUpstream(request) {
        const target = source.nodeAdminTarget(nodeOf(request))!;
        agent.aim(target);
        return `https://${target.servername}`;
      },
      // `localhost`: the far end hands this to its admin API, which answers to no foreign name.
      rewriteRequestHeaders: () => ({ host: 'localhost', accept: '*/*' }),
      rewriteHeaders: (headers) =>
        Object.fromEntries(
          PASSED_ON.flatMap((name) => (name in headers ? [[name, headers[name]]] : [])),
        ),
      // Its default tries a 503 ten times more; a node that is not ready says so with 503.
      retryDelay: () => null,
      onError(reply, { error }) {
        const node = nodeOf(reply.request);
        const { status, ...body } = failureOf(node, source.nodeAdminTarget(node), error);
        log.warn({ node, message: body.message }, 'admin API of another node not reached');
        void reply.code(status).send(body);
      },
    },
  });
}

interface Failure {
  readonly status: number;
  readonly error: string;
  readonly message: string;
}

function nodeOf(request: Pick<FastifyRequest, 'params'>): string {
  return (request.params as { readonly node: string }).node;
}

function refusalOf(
  request: Pick<FastifyRequest, 'params'>,
  source: AdminSource,
): Failure | undefined {
  const node = nodeOf(request);
  const rest = (request.params as { readonly '*': string })['*'];
  // As the URL of the next request will have it: empty and dot segments lead nowhere, a backslash is a slash.
  const [first] = rest.split(/[/\\]/).filter((segment) => segment !== '' && segment !== '.');
  if (first === 'nodes') {
    const message = 'another node is reached from the node you ask, not through a third one';
    return { status: 400, error: 'one_hop_only', message };
  }
  if (source.nodeAdminTarget(node) !== undefined) return undefined;
  const names = source.status().nodes.map(({ name }) => name);
  const near = nearest(node, names);
  const known = names.includes(node)
    ? 'it is registered, but this node has no certificate yet to prove itself with'
    : `registered are ${names.join(', ') || 'none'}`;
  const hint = near === undefined || near === node ? '' : `. Did you mean "${near}"?`;
  return { status: 404, error: 'unknown_node', message: `node "${node}": ${known}${hint}` };
}

function failureOf(node: string, target: NodeAdminTarget | undefined, error: Error): Failure {
  const at = target === undefined ? '' : ` at ${formatAddress(target)}`;
  const timedOut = 'statusCode' in error && error.statusCode === 504;
  const why = timedOut
    ? `no answer within ${ANSWER_MS / 1_000} s`
    : messageOf(error.cause ?? error);
  const message = `node "${node}"${at}: ${why}; check that its gateway runs and that its mesh port is open to this VM`;
  return { status: timedOut ? 504 : 502, error: 'node_unreachable', message };
}

/** Dials the mesh port of a node by the server name it was last aimed at; a fresh, verified connection each time. */
class NodeAgent extends Agent {
  readonly #targets = new Map<string, NodeAdminTarget>();

  constructor() {
    super({ keepAlive: false, maxSockets: 8 });
  }

  /** Certificates are renewed and nodes move: the newest target counts. */
  aim(target: NodeAdminTarget): void {
    this.#targets.set(target.servername.toLowerCase(), target);
  }

  override createConnection(options: RequestOptions): Duplex {
    const target = this.#targets.get(String(options.host));
    if (target === undefined) throw new Error(`no target for ${String(options.host)}`);
    const { host, port, servername, cert, key, ca, identity } = target;
    const socket = connect({
      host,
      port,
      servername,
      cert,
      key,
      ca: [...ca],
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: true,
      checkServerIdentity: (_host, peer) => wrongIdentity(peer, identity),
    });
    const limit = setTimeout(() => {
      socket.destroy(new Error(`no TLS handshake within ${HANDSHAKE_MS / 1_000} s`));
    }, HANDSHAKE_MS);
    socket.once('secureConnect', () => clearTimeout(limit));
    socket.once('close', () => clearTimeout(limit));
    return socket;
  }
}

/** An error unless the peer's certificate is an SVID of exactly the wanted identity. */
function wrongIdentity({ raw }: PeerCertificate, wanted: string): Error | undefined {
  const trustDomain = parseIdentity(wanted)?.trustDomain ?? '';
  const check = checkSvid(raw, trustDomain);
  if (!check.ok)
    return new Error(`its certificate does not name a node of this mesh: ${check.why}`);
  const proved = formatIdentity(check.identity);
  return proved === wanted ? undefined : new Error(`it proved to be ${proved}; wanted ${wanted}`);
}
