import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { InstanceDocument, TypedDocument } from '../../../registry/documents/types.ts';
import { withOwnInstances } from '../../../gateway/supervisor/own-instances.ts';

const OWN = {
  node: 'vm-a',
  advertise: { host: '10.0.0.1', port: 15443 },
  instances: [
    {
      service: 'web',
      id: 'web-1',
      app: '127.0.0.1:8080',
      protocol: 'http' as const,
      weight: 100,
      meta: {},
    },
  ],
};

function instance(node: string, id: string, app: string, address = '10.0.0.1:15443') {
  const document: InstanceDocument = {
    node,
    id,
    service: 'web',
    address,
    app,
    protocol: 'http',
    weight: 7,
    zone: 'z',
    meta: {},
    state: 'ready',
    health: 'passing',
    since: '2026-11-01T00:00:00Z',
  };
  const typed: TypedDocument = { kind: 'instances', document };
  return [`nodes/${node}/instances/web/${id}`, typed] as const;
}

const changeOf = (...put: (readonly [string, TypedDocument])[]) => ({
  revision: 5,
  reset: false,
  put,
  deleted: ['config/routes/old'],
});

describe('withOwnInstances', () => {
  it('does not let the registry say where an instance of this machine listens', () => {
    const forged = instance('vm-a', 'web-1', '127.0.0.1:15001', '169.254.169.254:80');
    const { change, foreign } = withOwnInstances(changeOf(forged), OWN);
    assert.deepEqual(change.put, [instance('vm-a', 'web-1', '127.0.0.1:8080')]);
    assert.deepEqual(foreign, []);
  });

  it('leaves out instances of this node that its file does not name, and removes former ones', () => {
    const forged = instance('vm-a', 'web-9', '127.0.0.1:15001');
    const { change, foreign } = withOwnInstances(changeOf(forged), OWN);
    assert.deepEqual(change.put, []);
    assert.deepEqual(change.deleted, ['config/routes/old', 'nodes/vm-a/instances/web/web-9']);
    assert.deepEqual(foreign, ['nodes/vm-a/instances/web/web-9']);
  });

  it('passes on everything else as it stands', () => {
    const other = instance('vm-b', 'web-9', '127.0.0.1:15001', '10.0.0.2:15443');
    const change = changeOf(other);
    assert.deepEqual(withOwnInstances(change, OWN), { change, foreign: [] });
  });
});
