import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OneAnswer } from '../../bench/loads/one-answer.ts';

const ANSWER = 'HTTP/1.1 200 OK\r\ndate: now\r\nContent-Length: 5\r\n\r\nhello';

describe('OneAnswer', () => {
  it('knows the end however the bytes come', () => {
    for (let cut = 1; cut < ANSWER.length; cut++) {
      const answer = new OneAnswer();
      assert.equal(answer.take(ANSWER.slice(0, cut)), false, `cut at ${cut}`);
      assert.equal(answer.take(ANSWER.slice(cut)), true, `cut at ${cut}`);
    }
  });

  it('takes the next one', () => {
    const answer = new OneAnswer();
    assert.ok(answer.take(ANSWER));
    assert.ok(answer.take(ANSWER.replace('5', '11').replace('hello', 'hello world')));
  });

  it('wants 200', () => {
    const refusal = ANSWER.replace('200 OK', '503 Service Unavailable');
    assert.throws(() => new OneAnswer().take(refusal), /wanted 200 .* got HTTP\/1.1 503/);
  });

  it('wants a length', () => {
    const chunked = ANSWER.replace('Content-Length: 5', 'Transfer-Encoding: chunked');
    assert.throws(() => new OneAnswer().take(chunked), /Content-Length/);
  });

  it('wants nothing behind it', () => {
    assert.throws(() => new OneAnswer().take(`${ANSWER}H`), /more bytes/);
  });
});
