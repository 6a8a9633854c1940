import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BadMessage } from '../../../gateway/worker/codec/bad-message.ts';
import {
  EDGE_RULES,
  EGRESS_RULES,
  MESH_RULES,
  TRUSTED_EDGE_RULES,
  type HeaderRules,
} from '../../../gateway/worker/codec/header-rules.ts';
import { RequestHead } from '../../../gateway/worker/codec/request-head.ts';

/** Lines as written, without the CRLFs; the first is the request line. */
function parse(lines: readonly string[], rules: HeaderRules = EDGE_RULES): RequestHead {
  const bytes = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  const head = new RequestHead();
  head.parse(bytes, 0, bytes.length - 2, rules);
  return head;
}

function passed(lines: readonly string[], rules?: HeaderRules): string[] {
  return parse(['GET / HTTP/1.1', 'Host: a', ...lines], rules)
    .lines.split('\r\n')
    .filter((line) => line !== '');
}

describe('RequestHead refuses', () => {
  const cases: readonly (readonly [
    name: string,
    lines: readonly string[],
    status: number,
    why: string,
  ])[] = [
    ['no Host', ['GET / HTTP/1.1'], 400, 'no Host'],
    ['two Hosts', ['GET / HTTP/1.1', 'Host: a', 'host: a'], 400, 'more than one Host'],
    [
      'a Host with a path',
      ['GET / HTTP/1.1', 'Host: a/b'],
      400,
      'Host is not a host name with an optional port',
    ],
    [
      'a Host with a user',
      ['GET / HTTP/1.1', 'Host: u@a'],
      400,
      'Host is not a host name with an optional port',
    ],
    [
      'a Host list',
      ['GET / HTTP/1.1', 'Host: a, b'],
      400,
      'Host is not a host name with an optional port',
    ],
    [
      'an empty Host',
      ['GET / HTTP/1.1', 'Host: '],
      400,
      'Host is not a host name with an optional port',
    ],
    [
      'a port that cannot be',
      ['GET / HTTP/1.1', 'Host: a:65536'],
      400,
      'Host is not a host name with an optional port',
    ],
    [
      'an absolute target that disagrees with Host',
      ['GET http://b/ HTTP/1.1', 'Host: a'],
      400,
      'Host and the absolute target disagree',
    ],
    [
      '* with GET',
      ['GET * HTTP/1.1', 'Host: a'],
      400,
      'the target is not a path, an http URL, or "*" for OPTIONS',
    ],
    [
      'an authority as target',
      ['GET a:80 HTTP/1.1', 'Host: a'],
      400,
      'the target is not a path, an http URL, or "*" for OPTIONS',
    ],
    [
      'HTTP/2.0',
      ['GET / HTTP/2.0', 'Host: a'],
      505,
      'the version is neither HTTP/1.1 nor HTTP/1.0',
    ],
    [
      'a lower-case protocol name',
      ['GET / http/1.1', 'Host: a'],
      400,
      'the request line does not end with an HTTP version',
    ],
    [
      'two spaces in the request line',
      ['GET  / HTTP/1.1', 'Host: a'],
      400,
      'the request target is empty or has a character it may not have',
    ],
    [
      'a method with a control',
      ['G\tET / HTTP/1.1', 'Host: a'],
      400,
      'the request line does not start with a method and one space',
    ],
    [
      'a space before the colon',
      ['GET / HTTP/1.1', 'Host : a'],
      400,
      'a field name is not a token directly followed by ":"',
    ],
    [
      'a folded line',
      ['GET / HTTP/1.1', 'Host: a', ' b'],
      400,
      'a field name is not a token directly followed by ":"',
    ],
    [
      'NUL in a value',
      ['GET / HTTP/1.1', 'Host: a', 'X: a\0b'],
      400,
      'a field value has a control character or a bare line end',
    ],
    [
      'a bare CR in a value',
      ['GET / HTTP/1.1', 'Host: a', 'X: a\rb'],
      400,
      'a field value has a control character or a bare line end',
    ],
    [
      'a bare LF in a value',
      ['GET / HTTP/1.1', 'Host: a', 'X: a\nY: b'],
      400,
      'a field value has a control character or a bare line end',
    ],
    [
      'two lengths that agree',
      ['GET / HTTP/1.1', 'Host: a', 'Content-Length: 1', 'content-length: 1'],
      400,
      'more than one Content-Length',
    ],
    [
      'a length with a sign',
      ['GET / HTTP/1.1', 'Host: a', 'Content-Length: +1'],
      400,
      'Content-Length is not a number',
    ],
    [
      'a length list',
      ['GET / HTTP/1.1', 'Host: a', 'Content-Length: 1, 1'],
      400,
      'Content-Length is not a number',
    ],
    [
      'an empty length',
      ['GET / HTTP/1.1', 'Host: a', 'Content-Length:'],
      400,
      'Content-Length is not a number',
    ],
    [
      'both framings',
      ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 1', 'Transfer-Encoding: chunked'],
      400,
      'both Content-Length and Transfer-Encoding',
    ],
    [
      'a coding list',
      ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: gzip, chunked'],
      400,
      'Transfer-Encoding is not exactly "chunked"',
    ],
    [
      'a coding with a leading comma',
      ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: ,chunked'],
      400,
      'Transfer-Encoding is not exactly "chunked"',
    ],
    [
      'an empty coding',
      ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding:'],
      400,
      'Transfer-Encoding is not exactly "chunked"',
    ],
    [
      'chunked twice',
      ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
      400,
      'Transfer-Encoding is not exactly "chunked"',
    ],
    [
      'chunked in HTTP/1.0',
      ['POST / HTTP/1.0', 'Host: a', 'Transfer-Encoding: chunked'],
      400,
      'Transfer-Encoding in an HTTP/1.0 request',
    ],
    [
      'an underscore spelling of a framing field',
      ['POST / HTTP/1.1', 'Host: a', 'Transfer_Encoding: chunked'],
      400,
      'the field Transfer_Encoding looks like a framing field',
    ],
    [
      'an expectation nobody can meet',
      ['POST / HTTP/1.1', 'Host: a', 'Expect: a-pony'],
      417,
      'Expect is not "100-continue"',
    ],
    [
      'more fields than are taken',
      ['GET / HTTP/1.1', 'Host: a', ...Array.from({ length: 128 }, (_, i) => `x${i}: 1`)],
      431,
      'more than 128 fields',
    ],
    [
      'a target that is too long',
      [`GET /${'a'.repeat(16_384)} HTTP/1.1`, 'Host: a'],
      414,
      'the target is too long',
    ],
    [
      'a dot segment',
      ['GET /a/../b HTTP/1.1', 'Host: a'],
      400,
      'the path has a "." or ".." segment',
    ],
    [
      'an encoded dot segment',
      ['GET /a/%2e%2E/b HTTP/1.1', 'Host: a'],
      400,
      'the path has a "." or ".." segment',
    ],
    [
      'an encoded slash',
      ['GET /a%2Fb HTTP/1.1', 'Host: a'],
      400,
      'the path has an encoded slash, backslash or NUL',
    ],
    [
      'a broken escape',
      ['GET /a%2 HTTP/1.1', 'Host: a'],
      400,
      'the path has a broken percent-escape',
    ],
    ['a backslash', ['GET /a\\b HTTP/1.1', 'Host: a'], 400, 'the path has a backslash'],
    ['a fragment', ['GET /a#b HTTP/1.1', 'Host: a'], 400, 'the path has a fragment'],
  ];
  for (const [name, lines, status, why] of cases) {
    it(name, () => {
      assert.throws(
        () => parse(lines),
        (error) => {
          assert.ok(error instanceof BadMessage);
          assert.deepEqual([error.status, error.message], [status, why]);
          return true;
        },
      );
    });
  }
});

describe('RequestHead reads', () => {
  it('one spelling per path, for matching and for what is forwarded', () => {
    const head = parse(['GET //a/%7Eb/%c3%bc?x=%2F HTTP/1.1', 'Host: A.Example:80']);
    assert.equal(head.path, '/a/~b/%C3%BC');
    assert.equal(head.target, '/a/~b/%C3%BC?x=%2F');
    assert.equal(head.query, 'x=%2F');
    assert.equal(head.host, 'a.example');
    assert.equal(head.authority, 'A.Example:80');
  });

  it('an absolute target, whose authority is the Host', () => {
    const head = parse(['GET http://orders.mesh?a=1 HTTP/1.1', 'Host: orders.mesh']);
    assert.deepEqual(
      [head.host, head.path, head.query, head.target],
      ['orders.mesh', '/', 'a=1', '/?a=1'],
    );
  });

  it('who closes the connection', () => {
    assert.equal(parse(['GET / HTTP/1.1', 'Host: a']).closes, false);
    assert.equal(parse(['GET / HTTP/1.1', 'Host: a', 'Connection: Close']).closes, true);
    assert.equal(parse(['GET / HTTP/1.0', 'Host: a']).closes, true);
    assert.equal(parse(['GET / HTTP/1.0', 'Host: a', 'Connection: keep-alive']).closes, false);
  });

  it('an upgrade only where HTTP/1.1 asks for one', () => {
    const upgrade = (version: string, ...lines: string[]): string =>
      parse([`GET / ${version}`, 'Host: a', 'Upgrade: websocket', ...lines]).upgrade;
    assert.equal(upgrade('HTTP/1.1', 'Connection: x-a, Upgrade'), 'websocket');
    assert.equal(upgrade('HTTP/1.1'), '');
    assert.equal(upgrade('HTTP/1.1', 'Connection: keep-alive'), '');
    assert.equal(upgrade('HTTP/1.0', 'Connection: upgrade'), '');
  });

  it('white space as HTTP has it, and U+00A0 as a character', () => {
    const head = parse([
      'GET / HTTP/1.0',
      'Host: a',
      'Connection: \xa0keep-alive',
      'TE: \xa0trailers',
    ]);
    assert.deepEqual([head.closes, head.acceptsTrailers], [true, false]);
    assert.equal(
      parse(['GET / HTTP/1.1', 'Host: a', 'X-A: \t\xa0b\xa0 ']).header('x-a'),
      '\xa0b\xa0',
    );
  });

  it('nothing of the request before', () => {
    const head = new RequestHead();
    for (const text of [
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nX-Request-Id: i\r\nConnection: close\r\n',
      'GET / HTTP/1.1\r\nHost: b\r\n',
    ]) {
      head.parse(Buffer.from(text), 0, text.length, EGRESS_RULES);
    }
    assert.deepEqual(
      [head.contentLength, head.expectsContinue, head.requestId, head.closes, head.host],
      [-1, false, '', false, 'b'],
    );
  });
});

describe('fields that pass', () => {
  it('are copied as they stand, in order', () => {
    assert.deepEqual(passed(['Accept: */*', 'Cookie: a=b', 'content-type: x']), [
      'Accept: */*',
      'Cookie: a=b',
      'content-type: x',
    ]);
  });

  it('are not those that Connection lists, wherever it stands', () => {
    assert.deepEqual(
      passed(['X-One: 1', 'Connection: x-one, close, X-Two', 'X-Two: 2', 'X-Three: 3']),
      ['X-Three: 3'],
    );
  });

  const forged = [
    'X-Forwarded-Client-Cert: URI=spiffe://mesh.internal/svc/admin',
    'x_forwarded_client_cert: URI=spiffe://mesh.internal/svc/admin',
    'X-Gatemesh-Instance: other',
    'X-Spiffe-Id: spiffe://mesh.internal/svc/admin',
  ];
  const aboutClient = [
    'X-Forwarded-For: 1.2.3.4',
    'X_Forwarded_For: 1.2.3.4',
    'X-Forwarded-Proto: https',
    'X-Forwarded-Host: b',
  ];
  const edgeOnly = [
    'X-Real-IP: 1.2.3.4',
    'Forwarded: for=1.2.3.4',
    'Proxy: b',
    'X-Original-URL: /b',
    'X-Envoy-Internal: true',
  ];

  it('never carry an identity, whoever sends them', () => {
    for (const rules of [EDGE_RULES, TRUSTED_EDGE_RULES, EGRESS_RULES, MESH_RULES]) {
      assert.deepEqual(passed(forged, rules), []);
    }
  });

  it('say nothing about the client when they come from outside', () => {
    assert.deepEqual(passed([...aboutClient, ...edgeOnly]), []);
  });

  it("hold a trusted proxy's word about the client, to be added to", () => {
    const head = parse(
      ['GET / HTTP/1.1', 'Host: a', 'X-Forwarded-For: 1.2.3.4', 'x-forwarded-for: 5.6.7.8'],
      TRUSTED_EDGE_RULES,
    );
    assert.equal(head.forwardedFor, '1.2.3.4, 5.6.7.8');
    assert.equal(head.lines, '');
  });

  it('come through the mesh as the first gateway set them', () => {
    assert.deepEqual(passed(['x-forwarded-for: 1.2.3.4', 'tracestate: a=b'], MESH_RULES), [
      'x-forwarded-for: 1.2.3.4',
      'tracestate: a=b',
    ]);
  });

  it('are never hop-by-hop', () => {
    const hop = [
      'Keep-Alive: timeout=5',
      'TE: trailers',
      'Upgrade: h2c',
      'Proxy-Authorization: x',
      'Proxy-Connection: close',
    ];
    assert.deepEqual(passed(hop, EGRESS_RULES), []);
  });

  it('count gateways, and lose the count at the edge', () => {
    const lines = (...counts: string[]) => [
      'GET / HTTP/1.1',
      'Host: a',
      ...counts.map((count) => `X-Gatemesh-Hops: ${count}`),
    ];
    assert.equal(parse(lines('3'), EGRESS_RULES).hops, 3);
    assert.equal(parse(lines('3'), TRUSTED_EDGE_RULES).hops, 3);
    assert.equal(parse(lines('3'), EDGE_RULES).hops, 0);
    assert.equal(parse(lines('2', '7', '1'), EGRESS_RULES).hops, 7);
    for (const odd of ['-1', '1e3', 'x', '', '99999']) {
      assert.equal(parse(lines(odd), EGRESS_RULES).hops, 0, odd);
    }
    assert.deepEqual(passed(['x-gatemesh-hops: 3'], EGRESS_RULES), []);
    assert.deepEqual(passed(['x-gatemesh-hops: 3'], MESH_RULES), ['x-gatemesh-hops: 3']);
  });

  it('hold ids only when they are well formed', () => {
    const good = parse([
      'GET / HTTP/1.1',
      'Host: a',
      'X-Request-Id: abc-1',
      `traceparent: 00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    ]);
    assert.equal(good.requestId, 'abc-1');
    assert.equal(good.traceparent, `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`);
    const bad = parse([
      'GET / HTTP/1.1',
      'Host: a',
      'X-Request-Id: a b"',
      `traceparent: 00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`,
    ]);
    assert.deepEqual([bad.requestId, bad.traceparent], ['', '']);
  });
});

describe('a TCP connection between gateways', () => {
  const LINES = ['TCP / HTTP/1.1', 'Host: db', 'Connection: upgrade', 'Upgrade: gatemesh-tcp'];

  it('is believed only from a gateway', () => {
    const believed = [EDGE_RULES, TRUSTED_EDGE_RULES, EGRESS_RULES, MESH_RULES].map((rules) => {
      const { isTcp, wantsTunnel } = parse(LINES, rules);
      return [isTcp, wantsTunnel];
    });
    const not = [false, false];
    assert.deepEqual(believed, [not, not, not, [true, true]]);
  });

  it('has no length', () => {
    assert.throws(
      () => parse([...LINES, 'Content-Length: 0'], MESH_RULES),
      new BadMessage(400, 'a TCP connection with the length of a body'),
    );
  });

  it('leaves nothing behind for the next request', () => {
    const head = new RequestHead();
    head.openTcp('db.example.com');
    assert.deepEqual([head.isTcp, head.wantsTunnel, head.host], [true, true, 'db.example.com']);
    const next = Buffer.from('GET /x HTTP/1.1\r\nHost: a\r\n\r\n');
    head.parse(next, 0, next.length - 2, MESH_RULES);
    assert.deepEqual([head.isTcp, head.wantsTunnel, head.host], [false, false, 'a']);
  });
});
