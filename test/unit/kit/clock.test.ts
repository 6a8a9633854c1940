import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock } from '#kit/clock.ts';

describe('systemClock', () => {
  it('fires once, and not before its time', async () => {
    const began = systemClock.now();
    const fired = await new Promise<number>((resolve) => {
      // The clock's own timer does not keep the process alive.
      const alive = setInterval(() => {}, 1_000);
      systemClock.after(20, () => {
        clearInterval(alive);
        resolve(systemClock.now());
      });
    });
    assert.ok(fired - began >= 19, `fired after ${fired - began} ms`);
  });

  it('never fires when cancelled, twice too', async () => {
    let fired = false;
    const cancel = systemClock.after(1, () => (fired = true));
    cancel();
    cancel();
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(fired, false);
  });

  it('does not fire at once for a wait longer than a timer can hold', async () => {
    let fired = false;
    const cancel = systemClock.after(2 ** 32, () => (fired = true));
    await new Promise((resolve) => setTimeout(resolve, 10));
    cancel();
    assert.equal(fired, false);
  });
});
