import assert from 'node:assert/strict';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import tls from 'node:tls';
import fc from 'fast-check';
import { BadMessage } from '../../../gateway/worker/codec/bad-message.ts';
import { readServerName } from '../../../gateway/worker/codec/client-hello.ts';

/** What `parts` are, behind their length of `width` bytes. */
function vector(width: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const length = Buffer.alloc(width);
  length.writeUIntBE(content.length, 0, width);
  return Buffer.concat([length, content]);
}

const bytes = (...values: readonly number[]): Buffer => Buffer.from(values);
const extension = (type: number, content: Buffer): Buffer =>
  Buffer.concat([bytes(type >> 8, type & 0xff), vector(2, content)]);
const hostName = (name: string): Buffer =>
  Buffer.concat([bytes(0), vector(2, Buffer.from(name, 'latin1'))]);
const serverName = (...names: readonly Buffer[]): Buffer => extension(0, vector(2, ...names));

interface Parts {
  readonly session?: Buffer;
  readonly ciphers?: Buffer;
  readonly compression?: Buffer;
  readonly extensions?: readonly Buffer[] | undefined;
  readonly behind?: Buffer;
}

function message(parts: Parts = {}): Buffer {
  const { session = Buffer.alloc(32), ciphers = bytes(0x13, 1), compression = bytes(0) } = parts;
  const extensions = 'extensions' in parts ? parts.extensions : [serverName(hostName('db.test'))];
  const body = Buffer.concat([
    bytes(3, 3),
    Buffer.alloc(32, 7),
    vector(1, session),
    vector(2, ciphers),
    vector(1, compression),
    ...(extensions === undefined ? [] : [vector(2, ...extensions)]),
    parts.behind ?? Buffer.alloc(0),
  ]);
  return Buffer.concat([bytes(1), vector(3, body)]);
}

/** In records of at most `size` bytes. */
function records(content: Buffer, size = 16_384): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < content.length; at += size) {
    pieces.push(bytes(22, 3, 1), vector(2, content.subarray(at, at + size)));
  }
  return Buffer.concat(pieces);
}

const GOOD = records(message());

describe('readServerName', () => {
  const served: readonly [name: string, input: Buffer, sni: string | undefined][] = [
    ['one host name', GOOD, 'db.test'],
    ['capitals', records(message({ extensions: [serverName(hostName('DB.Test'))] })), 'db.test'],
    [
      'other extensions around it',
      records(
        message({
          extensions: [
            extension(0x0a0a, Buffer.alloc(0)),
            serverName(hostName('a')),
            extension(21, Buffer.alloc(500)),
          ],
        }),
      ),
      'a',
    ],
    ['a message in many records', records(message(), 7), 'db.test'],
    ['no server name', records(message({ extensions: [extension(16, bytes(0, 0))] })), ''],
    ['no extensions', records(message({ extensions: undefined })), ''],
    [
      'bytes of another record behind it',
      Buffer.concat([GOOD, bytes(20, 3, 3, 0, 1, 1)]),
      'db.test',
    ],
    ['nothing yet', Buffer.alloc(0), undefined],
    ['all but the last byte', GOOD.subarray(0, -1), undefined],
    ['the first record of two', records(message(), 60).subarray(0, 65), undefined],
  ];
  for (const [name, input, sni] of served) {
    it(`reads ${name}`, () => assert.equal(readServerName(input), sni));
  }

  const refused: readonly [name: string, input: Buffer, why: string][] = [
    ['HTTP', Buffer.from('GET / HTTP/1.1'), 'TLS: this is no TLS handshake'],
    ['a first byte alone', bytes(0x80), 'TLS: this is no TLS handshake'],
    ['SSL 2', bytes(22, 2, 0, 0, 1), 'TLS: an unknown version of TLS'],
    ['an empty record', bytes(22, 3, 1, 0, 0), 'TLS: a record of an impossible length'],
    ['a record too long', bytes(22, 3, 1, 0x40, 1), 'TLS: a record of an impossible length'],
    [
      'another handshake message',
      records(bytes(2, 0, 0, 0)),
      'TLS: the handshake does not start with a ClientHello',
    ],
    [
      'a message that says it is huge, at once',
      records(bytes(1, 0, 0x40, 0)),
      'TLS: the ClientHello is too large',
    ],
    [
      'a thousand small records',
      records(Buffer.concat([bytes(1, 0, 0x3f, 0), Buffer.alloc(8_000)]), 1),
      'TLS: the ClientHello is too large',
    ],
    [
      'a second message in the record, before it is there',
      records(Buffer.concat([message(), bytes(0)])).subarray(0, -1),
      'TLS: a record has more in it than the ClientHello',
    ],
    [
      'a second message in the record',
      records(Buffer.concat([message(), bytes(0)])),
      'TLS: a record has more in it than the ClientHello',
    ],
    [
      'a session id too long',
      records(message({ session: Buffer.alloc(33) })),
      'TLS: a session id of more than 32 bytes',
    ],
    [
      'half a cipher suite',
      records(message({ ciphers: bytes(1, 2, 3) })),
      'TLS: no list of cipher suites',
    ],
    [
      'no compression method',
      records(message({ compression: Buffer.alloc(0) })),
      'TLS: no list of compression methods',
    ],
    [
      'bytes behind the extensions',
      records(message({ behind: bytes(0) })),
      'TLS: more bytes than a length says',
    ],
    [
      'two extensions with server names',
      records(message({ extensions: [serverName(hostName('a')), serverName(hostName('b'))] })),
      'TLS: two server names',
    ],
    [
      'two names in one extension',
      records(message({ extensions: [serverName(hostName('a'), hostName('b'))] })),
      'TLS: more bytes than a length says',
    ],
    [
      'a name of another type',
      records(
        message({ extensions: [serverName(Buffer.concat([bytes(1), vector(2, bytes(97))]))] }),
      ),
      'TLS: a server name that is no host name',
    ],
    ...['', 'a b', 'a\r\nb', '.a', 'a.', '*.a', 'a/b', '[::1]', 'a'.repeat(254)].map(
      (name): [string, Buffer, string] => [
        `the name ${JSON.stringify(name.slice(0, 10))}`,
        records(message({ extensions: [serverName(hostName(name))] })),
        'TLS: a server name that is no host name',
      ],
    ),
    [
      'an extension that goes past the end',
      records(message({ extensions: [bytes(0, 0, 0, 9, 0)] })),
      'TLS: a length that goes past the end',
    ],
  ];
  for (const [name, input, why] of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(() => readServerName(input), { name: 'BadMessage', status: 400, message: why });
    });
  }

  it('reads what a TLS client really sends', async () => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client = tls.connect({ port, host: '127.0.0.1', servername: 'db.example.com' });
    client.on('error', () => {});
    const [socket] = (await once(server, 'connection')) as [net.Socket];
    let hello = Buffer.alloc(0);
    while (readServerName(hello) === undefined) {
      const [more] = (await once(socket, 'data')) as [Buffer];
      hello = Buffer.concat([hello, more]);
    }
    assert.equal(readServerName(hello), 'db.example.com');
    client.destroy();
    socket.destroy();
    server.close();
  });

  /** Whatever comes in: a name, a wait for more, or a BadMessage. */
  function check(input: Buffer): string | undefined {
    try {
      const name = readServerName(input);
      if (name !== undefined && name !== '') assert.match(name, /^[a-z0-9_][-a-z0-9_.]*$/);
      return name;
    } catch (error) {
      assert.ok(error instanceof BadMessage, String(error));
      return 'refused';
    }
  }

  it('never reads past its bytes, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (content) => {
        check(Buffer.from(content));
        check(records(Buffer.concat([bytes(1), vector(3, Buffer.from(content))])));
      }),
      { numRuns: 3_000 },
    );
  });

  it('decides the same however it is changed and cut', () => {
    const change = fc.tuple(fc.nat(GOOD.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 4 }), fc.nat(GOOD.length), (changes, cut) => {
        const mutated = Buffer.from(GOOD);
        for (const [at, value] of changes) mutated[at] = value;
        const early = check(mutated.subarray(0, cut));
        const whole = check(mutated);
        // More bytes never take back what was decided on fewer.
        if (early !== undefined) assert.equal(whole, early);
      }),
      { numRuns: 5_000 },
    );
  });
});
