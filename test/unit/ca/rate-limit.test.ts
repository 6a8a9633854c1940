import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RateLimit } from '../../../ca/rate-limit.ts';

describe('RateLimit', () => {
  // One letter per request: + admitted, - refused; the number before it is the time in ms.
  const rows: readonly (readonly [name: string, history: string])[] = [
    ['a burst, then no more', '0+ 0+ 0+ 0-'],
    ['one more after the time of one', '0+ 0+ 0+ 0- 499- 501+ 501-'],
    ['never more than a burst, however long it was quiet', '0+ 90000+ 90000+ 90000+ 90000-'],
  ];
  for (const [name, history] of rows) {
    it(name, () => {
      const limit = new RateLimit(3, 2);
      const seen = history.split(' ').map((step) => {
        const ms = step.slice(0, -1);
        return `${ms}${limit.take('a', Number(ms)) ? '+' : '-'}`;
      });
      assert.equal(seen.join(' '), history);
    });
  }

  it('keeps addresses apart', () => {
    const limit = new RateLimit(1, 1);
    assert.deepEqual(
      ['a', 'a', 'b'].map((key) => limit.take(key, 0)),
      [true, false, true],
    );
  });
});
