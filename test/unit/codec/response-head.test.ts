import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BadMessage } from '../../../gateway/worker/codec/bad-message.ts';
import { RESPONSE_RULES } from '../../../gateway/worker/codec/header-rules.ts';
import { ResponseHead } from '../../../gateway/worker/codec/response-head.ts';

/** In a buffer of its own, as a head that came in two reads is. */
function parse(text: string): ResponseHead {
  const head = new ResponseHead();
  const bytes = Buffer.alloc(text.length, text, 'latin1');
  head.parse(bytes, 0, bytes.length, RESPONSE_RULES);
  return head;
}

describe('ResponseHead', () => {
  it('refuses whatever is shorter than a status line', () => {
    const line = 'HTTP/1.1 200\r\n';
    assert.equal(parse(line).status, 200);
    for (let length = 2; length < line.length; length++) {
      const text = `${line.slice(0, length - 2)}\r\n`;
      assert.throws(
        () => parse(text),
        (error) => error instanceof BadMessage && error.status === 502,
        text,
      );
    }
  });

  it('takes U+00A0 for no white space', () => {
    assert.equal(parse('HTTP/1.1 200 OK\r\nconnection: \xa0close\r\n').closes, false);
    assert.equal(parse('HTTP/1.1 200 OK\r\nconnection: x,\tclose \r\n').closes, true);
  });
});
