import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { Clock } from '#kit/clock.ts';
import { Publisher } from '../../../gateway/supervisor/publisher.ts';
import type {
  DesiredRegistration,
  WrittenInstance,
} from '../../../gateway/supervisor/registration.ts';

const INSTANCE: WrittenInstance = {
  address: '10.0.0.1:15443',
  app: '127.0.0.1:8080',
  protocol: 'http',
  weight: 100,
  zone: 'a',
  meta: {},
  state: 'starting',
  health: 'unknown',
};
const KEY = 'nodes/vm-a/instances/orders/x';

function desired(...instances: readonly WrittenInstance[]): DesiredRegistration {
  return {
    node: ['nodes/vm-a', { address: '10.0.0.1:15443', zone: 'a', version: '0' }],
    instances: instances.map((instance) => [KEY, instance]),
    refused: [],
  };
}

describe('Publisher', () => {
  let writes: [key: string, value: unknown][];
  let timers: (() => void)[];
  let wallMs: number;
  let publisher: Publisher;

  beforeEach(() => {
    writes = [];
    timers = [];
    wallMs = 0;
    const clock: Clock = {
      now: () => 0,
      wallMs: () => wallMs,
      after: (_ms, fn) => {
        timers.push(fn);
        return () => void timers.splice(timers.indexOf(fn), 1);
      },
    };
    // As the registrar: what it has already is not written again.
    const held = new Map<string, string | undefined>();
    const set = (key: string, value: string | undefined): void => {
      if (held.get(key) === value) return;
      held.set(key, value);
      writes.push([key, value === undefined ? undefined : JSON.parse(value)]);
    };
    publisher = new Publisher({ set }, clock);
  });

  it('writes the same text for what did not change', () => {
    publisher.register(desired(INSTANCE));
    assert.deepEqual(
      writes.map(([key]) => key),
      ['nodes/vm-a', KEY],
    );
    publisher.register(desired({ ...INSTANCE }));
    assert.equal(writes.length, 2);
  });

  it('moves `since` with state and health only', () => {
    const since = (): unknown => (writes.at(-1)?.[1] as { since: string }).since;
    publisher.register(desired(INSTANCE));
    wallMs = 1_000;
    publisher.register(desired({ ...INSTANCE, weight: 50 }));
    assert.equal(since(), '1970-01-01T00:00:00.000Z');
    publisher.register(desired({ ...INSTANCE, health: 'passing' }));
    assert.equal(since(), '1970-01-01T00:00:01.000Z');
    wallMs = 2_000;
    publisher.register(desired({ ...INSTANCE, health: 'passing', state: 'ready' }));
    assert.equal(since(), '1970-01-01T00:00:02.000Z');
    assert.equal(publisher.since(KEY), '1970-01-01T00:00:02.000Z');
  });

  it('takes away an instance that is gone, once', () => {
    publisher.register(desired(INSTANCE));
    publisher.register(desired());
    publisher.register(desired());
    assert.deepEqual(writes.slice(2), [[KEY, undefined]]);
    assert.equal(publisher.since(KEY), undefined);
  });

  it('writes one status for many changes, with what is true by then', () => {
    let revision = 1;
    const current = (): never => ({ revision }) as never;
    publisher.statusChanged('vm-a', current);
    revision = 2;
    publisher.statusChanged('vm-a', current);
    assert.deepEqual(writes, []);
    assert.equal(timers.length, 1);
    timers.shift()!();
    assert.deepEqual(writes, [['status/vm-a', { revision: 2 }]]);
    publisher.statusChanged('vm-a', current);
    timers.shift()!();
    assert.equal(writes.length, 1);
  });
});
