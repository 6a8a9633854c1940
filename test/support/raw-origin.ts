import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';

/** One request as its bytes came, told apart by Content-Length and chunked coding and nothing else. */
export interface RawRequest {
  readonly connection: number;
  readonly head: string;
  readonly body: string;
}

/** An origin that believes what it reads, and keeps every byte. */
export interface RawOrigin {
  readonly port: number;
  /** All bytes, connection by connection. */
  readonly received: readonly string[];
  readonly requests: readonly RawRequest[];
  readonly open: number;
  forget(): void;
  close(): void;
}

/**
 * @param answer what it sends for a request; by default 200 with the request line as the body
 * @returns once it listens
 */
export async function startRawOrigin(
  answer: (request: RawRequest, socket: Socket) => string | Buffer | undefined = echo,
): Promise<RawOrigin> {
  const received: string[] = [];
  const requests: RawRequest[] = [];
  const sockets = new Set<Socket>();
  const server = net.createServer((socket) => {
    const connection = received.push('') - 1;
    let held = '';
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (chunk) => {
      const text = chunk.toString('latin1');
      received[connection] += text;
      held += text;
      for (let next = take(held); next !== undefined; next = take(held)) {
        held = held.slice(next.length);
        const request = { connection, head: next.head, body: next.body };
        requests.push(request);
        const reply = answer(request, socket);
        if (reply !== undefined) socket.write(reply, 'latin1');
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    received,
    requests,
    get open() {
      return sockets.size;
    },
    forget() {
      received.fill('');
      requests.length = 0;
    },
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** 200 with the request line as its body; no body to HEAD. */
export function echo({ head }: RawRequest): string {
  const line = head.slice(0, head.indexOf('\r\n'));
  const body = line.startsWith('HEAD ') ? '' : line;
  return `HTTP/1.1 200 OK\r\nContent-Length: ${line.length}\r\n\r\n${body}`;
}

function take(
  text: string,
): { readonly head: string; readonly body: string; readonly length: number } | undefined {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = text.slice(0, end + 4);
  const start = end + 4;
  if (/^transfer-encoding:/im.test(head)) {
    let body = '';
    for (let at = start; ;) {
      const lineEnd = text.indexOf('\r\n', at);
      if (lineEnd < 0) return undefined;
      const size = Number.parseInt(text.slice(at, lineEnd), 16);
      if (size === 0) {
        const last = text.indexOf('\r\n\r\n', lineEnd);
        return last < 0 ? undefined : { head, body, length: last + 4 };
      }
      at = lineEnd + 2 + size + 2;
      if (at > text.length) return undefined;
      body += text.slice(lineEnd + 2, at - 2);
    }
  }
  const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
  if (text.length < start + length) return undefined;
  return { head, body: text.slice(start, start + length), length: start + length };
}
