import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BadMessage } from '../../../gateway/worker/codec/bad-message.ts';
import { readTrailerList } from '../../../gateway/worker/codec/chunked.ts';
import { appendFields, trailerObject } from '../../../gateway/worker/codec/field-list.ts';
import {
  EDGE_RULES,
  EGRESS_RULES,
  RESPONSE_RULES,
} from '../../../gateway/worker/codec/header-rules.ts';
import { RequestHead } from '../../../gateway/worker/codec/request-head.ts';
import { ResponseHead } from '../../../gateway/worker/codec/response-head.ts';

const START = [
  ':method',
  'GET',
  ':scheme',
  'http',
  ':authority',
  'Shop.example:81',
  ':path',
  '/a%41//b?q',
];

function request(list: readonly string[]): RequestHead {
  const head = new RequestHead();
  head.parseList(list, EGRESS_RULES);
  return head;
}

/** `START` with one value changed. */
function changed(name: string, value: string): string[] {
  return START.map((text, i) => (START[i - 1] === name && i % 2 === 1 ? value : text));
}

describe('a request as an HTTP/2 header list', () => {
  it('is the head that the same request has as HTTP/1.1', () => {
    const fields = [
      'x-a',
      '1',
      'x-request-id',
      'id',
      'x-forwarded-for',
      '1.2.3.4',
      'te',
      'trailers',
    ];
    const list = request([...START, ...fields, 'content-length', '5', 'expect', '100-continue']);
    const text =
      'GET /a%41//b?q HTTP/1.1\r\nHost: Shop.example:81\r\nx-a: 1\r\nx-request-id: id\r\nx-forwarded-for: 1.2.3.4\r\nTE: trailers\r\nContent-Length: 5\r\nExpect: 100-continue\r\n';
    const bytes = Buffer.from(text);
    const same = new RequestHead();
    same.parse(bytes, 0, bytes.length, EGRESS_RULES);
    assert.deepEqual({ ...list }, { ...same });
    assert.equal(list.host, 'shop.example');
    assert.equal(list.target, '/aA/b?q');
  });

  it('forgets the request before', () => {
    const head = request([...START, 'x-request-id', 'id', 'content-length', '5', 'te', 'trailers']);
    head.parseList(START, EGRESS_RULES);
    assert.deepEqual(
      [head.requestId, head.contentLength, head.acceptsTrailers, head.lines],
      ['', -1, false, ''],
    );
  });

  it('loses what is reserved for gateways', () => {
    const head = new RequestHead();
    const list = [
      ...START,
      'x-forwarded-for',
      '9.9.9.9',
      'x_real_ip',
      '1',
      'x-gatemesh-a',
      '1',
      'ok',
      '1',
    ];
    head.parseList(list, EDGE_RULES);
    assert.deepEqual([head.lines, head.forwardedFor], ['ok: 1\r\n', '']);
  });

  it('joins the crumbs of a cookie', () => {
    assert.equal(
      request([...START, 'cookie', 'a=1', 'x', 'y', 'cookie', 'b=2']).lines,
      'x: y\r\ncookie: a=1; b=2\r\n',
    );
  });

  it('is gRPC by its content type and its taking trailers', () => {
    const rows = [
      [['content-type', 'application/grpc', 'te', 'trailers'], true],
      [['content-type', 'application/grpc+proto', 'te', 'trailers'], true],
      [['content-type', 'application/grpc'], false],
      [['content-type', 'text/plain', 'te', 'trailers'], false],
    ] as const;
    for (const [fields, isGrpc] of rows) {
      assert.equal(request([...START, ...fields]).isGrpc, isGrpc, fields.join(' '));
    }
  });

  const rows: readonly (readonly [
    name: string,
    list: readonly string[],
    status: number,
    why: string,
  ])[] = [
    [
      'a line end in a value',
      [...START, 'x', 'a\r\nb: c'],
      400,
      'a field value has a line end or NUL',
    ],
    ['NUL in a value', [...START, 'x', 'a\0'], 400, 'a field value has a line end or NUL'],
    [
      'another control in a value',
      [...START, 'x', 'a\x01'],
      400,
      'a field value has a control character or a bare line end',
    ],
    ['a colon in a name', [...START, 'x:y', 'a'], 400, 'a field name is not a lower-case token'],
    ['an upper-case name', [...START, 'X', 'a'], 400, 'a field name is not a lower-case token'],
    ['an empty name', [...START, '', 'a'], 400, 'a field name is not a lower-case token'],
    [
      'Connection',
      [...START, 'connection', 'x'],
      400,
      'the field connection has no place in HTTP/2',
    ],
    ['Upgrade', [...START, 'upgrade', 'h2c'], 400, 'the field upgrade has no place in HTTP/2'],
    ['TE with more', [...START, 'te', 'trailers, gzip'], 400, 'TE is not "trailers"'],
    [
      'a pseudo-header field too late',
      ['x', 'y', ...START],
      400,
      'a pseudo-header field that is unknown, repeated or too late',
    ],
    [
      'one that is not known',
      [...START, ':protocol', 'x'],
      400,
      'a pseudo-header field that is unknown, repeated or too late',
    ],
    [
      'one that comes twice',
      [...START, ':path', '/'],
      400,
      'a pseudo-header field that is unknown, repeated or too late',
    ],
    ['a Host that differs', [...START, 'host', 'b'], 400, 'Host and :authority disagree'],
    ['no host at all', START.filter((_, i) => i !== 4 && i !== 5), 400, 'no Host'],
    [
      'a space as :authority, by the first request of a connection',
      changed(':authority', ' '),
      400,
      'Host is not a host name with an optional port',
    ],
    [
      'a user in :authority',
      changed(':authority', 'u@a'),
      400,
      'Host is not a host name with an optional port',
    ],
    [
      'an absolute :path',
      changed(':path', 'http://b/'),
      400,
      ':path does not start with "/" or has a character it may not have',
    ],
    [
      'a space in :path',
      changed(':path', '/a b'),
      400,
      ':path does not start with "/" or has a character it may not have',
    ],
    ['a climbing :path', changed(':path', '/a/..'), 400, 'the path has a "." or ".." segment'],
    ['a long :path', changed(':path', `/${'a'.repeat(20_000)}`), 414, 'the target is too long'],
    [
      '"*" for GET',
      changed(':path', '*'),
      400,
      'the target is not a path, an http URL, or "*" for OPTIONS',
    ],
    ['no :method', START.slice(2), 400, ':method is not a method'],
    ['CONNECT', [':method', 'CONNECT', ':authority', 'a:1'], 405, 'CONNECT is not served here'],
    ['another scheme', changed(':scheme', 'file'), 400, ':scheme is neither http nor https'],
    [
      'two lengths',
      [...START, 'content-length', '1', 'content-length', '1'],
      400,
      'more than one Content-Length',
    ],
    [
      '129 fields',
      [...START, ...Array.from({ length: 258 }, (_, i) => (i % 2 === 0 ? 'x' : 'y'))],
      431,
      'more than 128 fields',
    ],
  ];
  for (const [name, list, status, why] of rows) {
    it(`is refused for ${name}`, () => {
      assert.throws(
        () => request(list),
        (error) => error instanceof BadMessage && error.status === status && error.message === why,
      );
    });
  }
});

describe('a response as an HTTP/2 header list', () => {
  it('is read by the rules of HTTP/1.1', () => {
    const head = new ResponseHead();
    head.parseList(
      [':status', '404', 'content-length', '3', 'x-gatemesh-reason', 'UH', 'a', 'b'],
      RESPONSE_RULES,
    );
    assert.deepEqual(
      [head.status, head.statusText, head.contentLength, head.reason, head.lines],
      [404, '404 Not Found', 3, '', 'a: b\r\n'],
    );
  });
  for (const list of [
    [],
    [':status', '99'],
    [':status', '600'],
    [':status', '200', 'connection', 'x'],
  ]) {
    it(`is refused as ${JSON.stringify(list)}`, () => {
      assert.throws(() => new ResponseHead().parseList(list, RESPONSE_RULES), BadMessage);
    });
  }
});

describe('HTTP/2 trailers', () => {
  it('lose what has no place there', () => {
    assert.equal(
      readTrailerList(['grpc-status', '0', 'cookie', 'a', 'x-forwarded-for', '1']),
      'grpc-status: 0\r\n',
    );
  });
  for (const list of [
    ['content-length', '1'],
    [':path', '/'],
    ['x', 'a\r\nb'],
    ['x', 'y'.repeat(9_000)],
  ]) {
    it(`are refused with ${list.join(' ').slice(0, 20)}`, () => {
      assert.throws(() => readTrailerList(list), BadMessage);
    });
  }
});

describe('field lines as an HTTP/2 list', () => {
  it('have lower-case names, and nothing about a connection', () => {
    const list = [':status', '200'];
    appendFields('X-A:  1 \r\nConnection: close\r\nx-a: 2\r\nUpgrade: x\r\nempty:\r\n', list);
    assert.deepEqual(list, [':status', '200', 'x-a', '1', 'x-a', '2', 'empty', '']);
  });
  it('keep fields that come twice, whatever their name', () => {
    const trailers = trailerObject('a: 1\r\n__proto__: 2\r\nA: 3\r\n');
    assert.deepEqual(Object.entries(trailers), [
      ['a', ['1', '3']],
      ['__proto__', ['2']],
    ]);
  });
});
