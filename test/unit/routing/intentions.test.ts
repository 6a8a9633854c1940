import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type {
  IntentionDocument,
  IntentionRule,
  MeshDocument,
} from '../../../registry/documents/types.ts';
import { Authoriser } from '../../../gateway/worker/routing/intentions.ts';
import { path, request } from './routes.ts';

const from = (who: string, change: Partial<IntentionRule> = {}): IntentionRule => ({
  from: who,
  methods: [],
  ...change,
});

const intention = (change: Partial<IntentionDocument>): IntentionDocument => ({
  name: 'payments',
  mode: 'enforce',
  allow: [],
  deny: [],
  default: 'deny',
  ...change,
});

const mesh = (defaultIntention: 'allow' | 'deny'): MeshDocument => ({
  trustDomain: 'mesh.internal',
  defaultIntention,
  defaults: {},
});

const WEB = 'spiffe://mesh.internal/svc/web';

describe('who may call payments', () => {
  const cases: readonly {
    name: string;
    intention?: Partial<IntentionDocument>;
    mesh?: MeshDocument;
    caller?: string;
    request?: string;
    allowed: boolean;
    audited?: boolean;
    why: string;
  }[] = [
    {
      name: 'nothing is said at all',
      allowed: true,
      why: "no intention covers payments, and the mesh's default is allow",
    },
    {
      name: 'the mesh denies by default',
      mesh: mesh('deny'),
      allowed: false,
      why: "no intention covers payments, and the mesh's default is deny",
    },
    {
      name: 'a service on the list',
      intention: { allow: [from('web'), from('cron')] },
      allowed: true,
      why: 'config/intentions/payments has a rule for web, which allows it',
    },
    {
      name: 'a service that is not',
      intention: { allow: [from('cron')] },
      mesh: mesh('allow'),
      allowed: false,
      why: 'config/intentions/payments has no rule for it, and its default denies it',
    },
    {
      name: 'deny before allow',
      intention: { allow: [from('*')], deny: [from('web')] },
      allowed: false,
      why: 'config/intentions/payments has a rule for web, which denies it',
    },
    {
      name: 'anyone',
      intention: { allow: [from('*')] },
      allowed: true,
      why: 'config/intentions/payments has a rule for *, which allows it',
    },
    {
      name: 'a whole SPIFFE id',
      intention: { allow: [from('spiffe://mesh.internal/edge/public')] },
      caller: 'spiffe://mesh.internal/edge/public',
      allowed: true,
      why: 'config/intentions/payments has a rule for spiffe://mesh.internal/edge/public, which allows it',
    },
    {
      name: 'a node named like the service',
      intention: { allow: [from('web')] },
      caller: 'spiffe://mesh.internal/node/web',
      allowed: false,
      why: 'config/intentions/payments has no rule for it, and its default denies it',
    },
    {
      name: 'the service of another trust domain',
      intention: { allow: [from('web')] },
      caller: 'spiffe://evil.example/svc/web',
      allowed: false,
      why: 'config/intentions/payments has no rule for it, and its default denies it',
    },
    {
      name: 'only these methods',
      intention: { allow: [from('web', { methods: ['GET'] })] },
      request: 'POST payments/',
      allowed: false,
      why: 'config/intentions/payments has no rule for it, and its default denies it',
    },
    {
      name: 'only below this path',
      intention: { allow: [from('web', { path: path('/v1/') })] },
      request: 'GET payments/v1/x',
      allowed: true,
      why: 'config/intentions/payments has a rule for web, which allows it',
    },
    {
      name: 'not a path that only begins alike',
      intention: { allow: [from('web', { path: path('/v1/') })] },
      request: 'GET payments/v1x',
      allowed: false,
      why: 'config/intentions/payments has no rule for it, and its default denies it',
    },
    {
      name: 'a TCP connection by who opens it',
      intention: { allow: [from('web')] },
      request: 'TCP payments/',
      allowed: true,
      why: 'config/intentions/payments has a rule for web, which allows it',
    },
    {
      name: 'no TCP connection by a method or a path, which it does not have',
      intention: { allow: [from('web', { methods: ['TCP'] }), from('web', { path: path('/') })] },
      request: 'TCP payments/',
      allowed: false,
      why: 'config/intentions/payments has no rule for it, and its default denies it',
    },
    {
      name: 'an own default of allow',
      intention: { deny: [from('legacy')], default: 'allow' },
      mesh: mesh('deny'),
      allowed: true,
      why: 'config/intentions/payments has no rule for it, and its default allows it',
    },
    {
      name: 'audit lets it pass and says so',
      intention: { mode: 'audit', allow: [from('cron')] },
      allowed: true,
      audited: true,
      why: 'config/intentions/payments has no rule for it, and its default would deny it (audit)',
    },
    {
      name: 'audit has nothing to say about what is allowed',
      intention: { mode: 'audit', allow: [from('web')] },
      allowed: true,
      why: 'config/intentions/payments has a rule for web, which allows it',
    },
  ];
  for (const { name, caller = WEB, request: line = 'GET payments/', ...row } of cases) {
    it(name, () => {
      const document = row.intention === undefined ? undefined : intention(row.intention);
      const authoriser = new Authoriser('payments', document, row.mesh, 'mesh.internal');
      const asked = { ...request(line), isTcp: line.startsWith('TCP ') };
      assert.deepEqual(authoriser.decide(caller, asked), {
        allowed: row.allowed,
        audited: row.audited ?? false,
        intention: document?.name,
        why: row.why,
      });
    });
  }
});
