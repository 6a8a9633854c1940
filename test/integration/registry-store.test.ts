import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { createLog } from '../../registry/kit/log.ts';
import { EmbeddedDatabase } from '../../registry/store/embedded-db.ts';
import { openEmbeddedStore } from '../../registry/store/embedded.ts';
import { openEtcdStore } from '../../registry/store/etcd.ts';
import { startEtcd, type TestEtcd } from '../support/etcd.ts';
import { storeContract } from '../support/store-contract.ts';

const log = createLog({ level: 'silent' });

/** Stores side by side, since they mostly wait for leases to expire; the tests of one share its variables. */
const ONE_BY_ONE = { concurrency: 1 };

describe('stores', { concurrency: true }, () => {
  describe('embedded store, in a file', ONE_BY_ONE, () => {
    storeContract(async () => {
      const folder = await mkdtemp(join(tmpdir(), 'gatemesh-store-'));
      const file = join(folder, 'registry.db');
      const store = await openEmbeddedStore({ file, log });
      return {
        store,
        compact: async (revision) => {
          const database = new EmbeddedDatabase(file);
          database.compact(revision);
          database.close();
        },
        cleanUp: () => rm(folder, { recursive: true }),
      };
    });
  });

  for (const tls of [false, true]) {
    describe(tls ? 'etcd store over mutual TLS, by address' : 'etcd store', ONE_BY_ONE, () => {
      let etcd: TestEtcd;
      let count = 0;
      before(async () => {
        etcd = await startEtcd({ tls });
      });
      after(() => etcd.stop());

      storeContract(async () => {
        const prefix = `/gatemesh-${++count}/v1`;
        const store = await openEtcdStore({ endpoints: etcd.endpoints, prefix, log, ...etcd.tls });
        return {
          store,
          compact: async (revision) => void (await etcd.etcdctl('compaction', String(revision))),
          cleanUp: async () => {},
        };
      });
    });
  }
});
