import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseExplainQuery } from '../../../gateway/admin/explain-query.ts';

const URL_WANTED = 'url: wanted "http://orders.mesh/path", or "/path" with h=host:orders.mesh; got';

describe('parseExplainQuery', () => {
  it('takes a path when the host is among the headers', () => {
    assert.deepEqual(parseExplainQuery(new URLSearchParams('url=/x&h=Host:%20orders.mesh')), {
      method: 'GET',
      url: '/x',
      from: undefined,
      gateway: undefined,
      headers: [['host', 'orders.mesh']],
    });
  });

  const rows: readonly [name: string, query: string, problems: readonly string[]][] = [
    ['nothing', '', [`${URL_WANTED} nothing`]],
    ['a path without a host', 'url=/x', [`${URL_WANTED} no host`]],
    ['a URL without a scheme', 'url=orders.mesh/x', [`${URL_WANTED} "orders.mesh/x"`]],
    ['another scheme', 'url=ftp://a/', [`${URL_WANTED} "ftp://a/"`]],
    [
      'a URL with a space',
      'url=http://a/b+c',
      ['url: wanted a URL without spaces; got "http://a/b c"'],
    ],
    [
      'everything wrong at once',
      'metod=GET&url=http://a/&url=http://b/&from=Web&gateway=a/b&h=x',
      [
        'unknown parameter "metod". Did you mean "method"?',
        'url: given twice',
        'h: wanted "name: value"; got "x"',
        'from: wanted the name of the calling service; got "Web"',
        'gateway: wanted the name of an edge gateway; got "a/b"',
      ],
    ],
    [
      'a method that is none',
      'url=http://a/&method=GET%20/',
      ['method: wanted an HTTP method such as GET; got "GET /"'],
    ],
    [
      'a header value with a line break',
      'url=http://a/&h=a:b%0d%0ac:d',
      ['h: wanted "name: value"; got "a:b\\r\\nc:d"'],
    ],
  ];
  for (const [name, query, problems] of rows) {
    it(`tells: ${name}`, () => {
      assert.deepEqual(parseExplainQuery(new URLSearchParams(query)), problems);
    });
  }
});
