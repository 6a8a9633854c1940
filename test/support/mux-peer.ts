import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import type { Svid } from '../../ca/identity.ts';
import type { TestPki } from './pki.ts';
import {
  FLAG_END,
  MAX_STREAMS,
  PROTOCOL,
  TYPE,
  VERSION,
  WINDOW_BYTES,
} from '../../gateway/worker/mux/frames.ts';

/** One frame as it came. */
export interface SeenFrame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

/** The other end of a `gatemesh/1` connection, which sends what it likes and checks nothing. */
export interface MuxPeer {
  readonly socket: tls.TLSSocket;
  readonly frames: readonly SeenFrame[];
  readonly isClosed: boolean;
  send(...frames: readonly Buffer[]): void;
}

export function frame(type: number, id: number, payload: Buffer | string, flags = 0): Buffer {
  const bytes = Buffer.from(payload as string, 'latin1');
  const header = Buffer.alloc(8);
  header.writeUIntBE(bytes.length, 0, 3);
  header[3] = type | flags;
  header.writeUInt32BE(id, 4);
  return Buffer.concat([header, bytes]);
}

export function numberFrame(type: number, id: number, value: number, flags = 0): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return frame(type, id, payload, flags);
}

/** @param claimed length of the head as the frame states it, when that is to be a lie */
export function headFrame(
  id: number,
  head: string,
  body = '',
  flags = 0,
  claimed = head.length,
): Buffer {
  const length = Buffer.alloc(3);
  length.writeUIntBE(claimed, 0, 3);
  return frame(TYPE.head, id, Buffer.concat([length, Buffer.from(head + body, 'latin1')]), flags);
}

export function settingsFrame(streams = MAX_STREAMS, version = VERSION): Buffer {
  const payload = Buffer.alloc(12);
  payload.writeUInt32BE(version, 0);
  payload.writeUInt32BE(streams, 4);
  payload.writeUInt32BE(WINDOW_BYTES, 8);
  return frame(TYPE.settings, 0, payload);
}

/** A whole request without a body. */
export function get(id: number, path = '/', fields = ''): Buffer {
  return headFrame(id, `GET ${path} HTTP/1.1\r\nhost: orders\r\n${fields}`, '', FLAG_END);
}

/** Calls `service` on a mesh port as a peer with a certificate of its own. */
export async function dialMux(
  port: number,
  pki: TestPki,
  svid: Svid,
  service = 'orders',
): Promise<MuxPeer> {
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    servername: `${service}.svc.${pki.trustDomain}`,
    ca: pki.rootPem,
    cert: svid.certPem,
    key: svid.keyPem,
    ALPNProtocols: [PROTOCOL],
    checkServerIdentity: () => undefined,
  });
  const peer = muxPeer(socket);
  await once(socket, 'secureConnect');
  return peer;
}

/** A gateway that other gateways call, in the hands of a stranger with a valid certificate. */
export async function startMuxCallee(
  pki: TestPki,
  svid: Svid,
  onPeer: (peer: MuxPeer) => void,
  onFrame: (seen: SeenFrame, peer: MuxPeer) => void = () => {},
): Promise<{ readonly port: number; readonly peers: readonly MuxPeer[]; close(): void }> {
  const peers: MuxPeer[] = [];
  const server = tls.createServer(
    {
      ca: pki.rootPem,
      cert: svid.certPem,
      key: svid.keyPem,
      requestCert: true,
      ALPNProtocols: [PROTOCOL],
    },
    (socket) => {
      const peer = muxPeer(socket, (seen) => onFrame(seen, peer));
      peers.push(peer);
      onPeer(peer);
    },
  );
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    peers,
    close() {
      for (const { socket } of peers) socket.destroy();
      server.close();
    },
  };
}

function muxPeer(socket: tls.TLSSocket, onFrame: (seen: SeenFrame) => void = () => {}): MuxPeer {
  const frames: SeenFrame[] = [];
  let held = Buffer.alloc(0);
  let isClosed = false;
  socket.on('error', () => {});
  socket.on('close', () => (isClosed = true));
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    while (held.length >= 8) {
      const end = 8 + held.readUIntBE(0, 3);
      if (held.length < end) return;
      const seen: SeenFrame = {
        type: held[3]! & 0x0f,
        flags: held[3]! & 0xf0,
        id: held.readUInt32BE(4),
        payload: Buffer.from(held.subarray(8, end)),
      };
      held = held.subarray(end);
      frames.push(seen);
      onFrame(seen);
    }
  });
  return {
    socket,
    frames,
    get isClosed() {
      return isClosed;
    },
    send: (...sent) => void socket.write(Buffer.concat(sent)),
  };
}
