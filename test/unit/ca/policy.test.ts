import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseIdentity } from '../../../ca/identity.ts';
import { mayHave, type Caller, type Enrolment } from '../../../ca/policy.ts';

const VM_A: Enrolment = { node: 'vm-a', services: ['web', 'orders'], gateway: 'public' };
const BARE: Enrolment = { node: 'vm-b', services: [], gateway: undefined };

const id = (path: string) => parseIdentity(`spiffe://mesh.test/${path}`)!;
const token = (enrolment: Enrolment): Caller => ({ kind: 'token', enrolment });
const holder = (path: string, enrolment?: Enrolment): Caller => ({
  kind: 'certificate',
  identity: id(path),
  enrolment,
});
const ADD =
  '. To add it: gatemesh ca token --node vm-a with all of its services, and put the token in its tokenFile';

describe('mayHave', () => {
  const allowed: readonly (readonly [name: string, caller: Caller, wanted: string])[] = [
    ['an operator: anything', { kind: 'operator' }, 'svc/payments'],
    ['the process with the authority inside: anything', { kind: 'local' }, 'node/vm-z'],
    ['a token: its node', token(VM_A), 'node/vm-a'],
    ['a token: one of its services', token(VM_A), 'svc/orders'],
    ['a token: its gateway', token(VM_A), 'edge/public'],
    ['a node: itself, even if nothing is known of its enrolment', holder('node/vm-a'), 'node/vm-a'],
    ['a node: a service it was enrolled for', holder('node/vm-a', VM_A), 'svc/web'],
    ['a node: the gateway it was enrolled for', holder('node/vm-a', VM_A), 'edge/public'],
    ['a service: itself', holder('svc/web'), 'svc/web'],
    ['an edge gateway: itself', holder('edge/public'), 'edge/public'],
  ];
  for (const [name, caller, wanted] of allowed) {
    it(`allows ${name}`, () => {
      assert.deepEqual(mayHave(caller, id(wanted), 'mesh.test'), { allowed: true });
    });
  }

  const refused: readonly (readonly [
    name: string,
    caller: Caller,
    wanted: string,
    message: string,
  ])[] = [
    [
      'a token: another node',
      token(VM_A),
      'node/vm-b',
      'spiffe://mesh.test/node/vm-b is refused: the token is for node "vm-a", services "web", "orders", gateway "public"',
    ],
    [
      'a token: a service it does not name',
      token(VM_A),
      'svc/payments',
      `spiffe://mesh.test/svc/payments is refused: the token is for node "vm-a", services "web", "orders", gateway "public"${ADD}`,
    ],
    [
      'a token without gateway: an edge gateway',
      token(BARE),
      'edge/public',
      `spiffe://mesh.test/edge/public is refused: the token is for node "vm-b"${ADD.replace('vm-a', 'vm-b')}`,
    ],
    [
      'a node: a service it was not enrolled for',
      holder('node/vm-a', VM_A),
      'svc/payments',
      `spiffe://mesh.test/svc/payments is refused: the node was enrolled for node "vm-a", services "web", "orders", gateway "public"${ADD}`,
    ],
    [
      'a node: another node',
      holder('node/vm-a', VM_A),
      'node/vm-b',
      'spiffe://mesh.test/node/vm-b is refused: the node was enrolled for node "vm-a", services "web", "orders", gateway "public"',
    ],
    [
      'a node of unknown enrolment: a service',
      holder('node/vm-a'),
      'svc/web',
      `spiffe://mesh.test/svc/web is refused: spiffe://mesh.test/node/vm-a may renew itself only${ADD}`,
    ],
    [
      'a service: its node',
      holder('svc/web'),
      'node/web',
      'spiffe://mesh.test/node/web is refused: spiffe://mesh.test/svc/web may renew itself only',
    ],
    [
      'a service with the name of a node: what that node was enrolled for',
      holder('svc/vm-a', VM_A),
      'svc/web',
      'spiffe://mesh.test/svc/web is refused: spiffe://mesh.test/svc/vm-a may renew itself only',
    ],
  ];
  for (const [name, caller, wanted, message] of refused) {
    it(`refuses ${name}`, () => {
      assert.deepEqual(mayHave(caller, id(wanted), 'mesh.test'), {
        allowed: false,
        code: 'identity_not_allowed',
        message,
      });
    });
  }

  it('refuses everybody another trust domain', () => {
    assert.deepEqual(mayHave({ kind: 'operator' }, id('svc/web'), 'other.test'), {
      allowed: false,
      code: 'trust_domain_mismatch',
      message:
        'spiffe://mesh.test/svc/web: this authority signs for the trust domain "other.test" only',
    });
  });
});
