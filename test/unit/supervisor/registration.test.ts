import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  desiredRegistration,
  instanceId,
  type LocalInstance,
  type RegistrationInput,
} from '../../../gateway/supervisor/registration.ts';

const ORDERS: LocalInstance = {
  service: 'orders',
  id: 'vm-a-orders-8080',
  app: '127.0.0.1:8080',
  protocol: 'http',
  weight: 100,
  meta: { version: '1' },
};

const INPUT: RegistrationInput = {
  node: 'vm-a',
  zone: 'dc1-a',
  version: '0.1.0',
  advertise: '10.0.0.1:15443',
  gateway: undefined,
  instances: [ORDERS],
  intent: undefined,
  draining: false,
  healthOf: () => 'passing',
  hasIdentity: () => true,
};

const MAINTENANCE = { name: 'vm-a', maintenance: true };

describe('desiredRegistration', () => {
  it('is the node and its instances', () => {
    assert.deepEqual(desiredRegistration({ ...INPUT, gateway: 'public' }), {
      node: [
        'nodes/vm-a',
        { address: '10.0.0.1:15443', zone: 'dc1-a', version: '0.1.0', gateway: 'public' },
      ],
      instances: [
        [
          'nodes/vm-a/instances/orders/vm-a-orders-8080',
          {
            address: '10.0.0.1:15443',
            app: '127.0.0.1:8080',
            protocol: 'http',
            weight: 100,
            zone: 'dc1-a',
            meta: { version: '1' },
            state: 'ready',
            health: 'passing',
          },
        ],
      ],
      refused: [],
    });
  });

  const states: readonly [name: string, change: Partial<RegistrationInput>, state: string][] = [
    ['is starting without a certificate', { hasIdentity: () => false }, 'starting'],
    ['is in maintenance when the operator says so', { intent: MAINTENANCE }, 'maintenance'],
    [
      'is in maintenance with or without a certificate',
      { intent: MAINTENANCE, hasIdentity: () => false },
      'maintenance',
    ],
    ['is draining, whatever else', { intent: MAINTENANCE, draining: true }, 'draining'],
    ['is ready even while failing', { healthOf: () => 'failing' }, 'ready'],
  ];
  for (const [name, change, state] of states) {
    it(`an instance ${name}`, () => {
      const { instances } = desiredRegistration({ ...INPUT, ...change });
      assert.equal(instances[0]?.[1].state, state);
    });
  }

  it('takes the zone from the operator', () => {
    const intent = { name: 'vm-a', maintenance: false, zone: 'dc2' };
    const desired = desiredRegistration({ ...INPUT, intent });
    assert.equal(desired.node[1].zone, 'dc2');
    assert.equal(desired.instances[0]?.[1].zone, 'dc2');
  });

  it('leaves out what the operator does not allow here, and names it', () => {
    const intent = { name: 'vm-a', maintenance: false, services: ['web'] };
    const desired = desiredRegistration({ ...INPUT, intent });
    assert.deepEqual(desired.instances, []);
    assert.deepEqual(desired.refused, ['orders']);
  });
});

describe('instanceId', () => {
  it('names node, service and port', () => {
    assert.equal(instanceId('vm-a', 'orders', 8080), 'vm-a-orders-8080');
  });

  it('stays a valid and distinct name when they are long', () => {
    const long = 'n'.repeat(63);
    const a = instanceId(long, 'orders', 8080);
    const b = instanceId(long, 'orders', 8081);
    assert.match(a, /^[a-z0-9][-a-z0-9.]{61}[a-z0-9]$/);
    assert.notEqual(a, b);
    assert.equal(a, instanceId(long, 'orders', 8080));
  });
});
