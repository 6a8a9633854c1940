import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { formatAddress, type Address } from '#kit/address.ts';
import { systemClock as clock } from '#kit/clock.ts';
import { messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { systemRng as rng } from '#kit/rng.ts';
import { CaClient, openLocalCa } from '../ca/client.ts';
import { formatIdentity } from '../ca/identity.ts';
import { classify, nodeKey } from '../registry/documents/keys.ts';
import { parseDocument } from '../registry/documents/parse.ts';
import { checkReferences } from '../registry/documents/references.ts';
import { Registrar } from '../registry/registrar.ts';
import { loadSnapshot, SnapshotKeeper, type SnapshotContent } from '../registry/snapshot.ts';
import { openEmbeddedStore } from '../registry/store/embedded.ts';
import { openEtcdStore } from '../registry/store/etcd.ts';
import type { Store } from '../registry/store/store.ts';
import { RegistryView } from '../registry/view.ts';
import { untilJoined } from './joining.ts';
import { startAdmin, type Admin } from './admin/server.ts';
import type { AdminSource } from './admin/source.ts';
import type { GatewayConfig, RegistryConfig } from './config.ts';
import type { WorkerSettings } from './ipc.ts';
import { adminSource } from './supervisor/admin-source.ts';
import { prepareDataDir } from './supervisor/data-dir.ts';
import { EdgeListeners } from './supervisor/edge-listeners.ts';
import { heldTrustDomain } from './supervisor/identity-disk.ts';
import { IdentityFiles } from './supervisor/identity-files.ts';
import { IdentityKeeper } from './supervisor/identity-keeper.ts';
import type { IdentitySource } from './supervisor/identity-source.ts';
import { bindListener, listenFailed } from './supervisor/listen-sockets.ts';
import { bindOwnListeners, type OwnListener } from './supervisor/own-listeners.ts';
import { Supervisor, trustDomainOf, wantedIdentities } from './supervisor/supervisor.ts';
import { Workers } from './supervisor/workers.ts';
import { packageVersion } from './version.ts';

const WORKER_FILE = fileURLToPath(new URL('./worker/main.ts', import.meta.url));

/** Workers have loaded and listen within this; a slower machine goes on without being sure. */
const LISTENING_MS = 10_000;
/** Others learn within this that instances here are draining, before these stop taking requests. */
const PROPAGATION_MS = 1_000;
/** Requests in flight get this long to end. Shorter than systemd's TimeoutStopSec, so that a drain ends before the kill. */
const DRAIN_GRACE_MS = 20_000;
/** Deregistering and closing, with etcd or the CA away. */
const CLOSE_MS = 5_000;

export interface RunningGateway {
  readonly supervisor: Supervisor;
  /** Drains, deregisters and ends every process of it. Never rejects. */
  stop(): Promise<void>;
  /** Ends the workers at once; nothing is deregistered. */
  kill(): void;
}

/**
 * A whole gateway, in the order of its start: what is on this machine first, so that it serves while the registry and
 * the CA are away; then these two, in the background.
 *
 * @param file where `config` was read from, for messages
 * @param stopped resolves when the gateway is to end before it has quite started
 * @throws MeshError with the setting to correct; then nothing is left running
 */
export async function startGateway(
  file: string,
  config: GatewayConfig,
  log: Log,
  stopped: Promise<void>,
): Promise<RunningGateway> {
  await using started = new AsyncDisposableStack();

  // From disk: tables and certificates of the last run.
  await prepareDataDir(config.dataDir);
  const lastGood = await loadSnapshot(config.dataDir, log);
  const store = started.adopt(await openStore(config.registry, log), (opened) => opened.close());
  const trustDomain =
    (await heldTrustDomain(config.dataDir)) ?? (await findTrustDomain(lastGood, store, log));
  // Before anybody is asked for a certificate: a port in use must not cost a token.
  const listeners = await bindOwnListeners(config, file);
  started.defer(() => closeAll(listeners));
  const identity = await openIdentity(config, trustDomain, store, log, started);
  identity.setWanted(wantedIdentities(config, trustDomain));
  await identity.start();
  started.defer(() => identity.stop());

  const parts = connectParts({ config, lastGood, store, trustDomain, listeners, identity, log });
  const { supervisor, view, workers, edge, registrar, snapshots } = parts;
  const admin = await openAdmin(config, parts.adminSource, log);
  started.defer(() => admin.close());

  // The snapshot's tables are in force when `view.start` returns; the workers start with them.
  supervisor.start();
  started.defer(() => supervisor.stop());
  view.start();
  started.defer(() => view.stop());
  workers.start(settingsOf(config, trustDomain, admin.address));
  started.defer(() => workers.kill());
  started.defer(() => edge.close());
  for (const { spec, socket } of listeners) workers.listen(spec, socket);
  await allListening(workers, listeners);
  await untilJoined({
    identity,
    hasSnapshot: lastGood !== undefined,
    registry: { name: store.name, isConnected: () => view.state.connected },
    stopped,
  });

  // Others may know of this node only now that it answers.
  supervisor.register();
  started.defer(() => registrar.stop({ revoke: true }));
  started.defer(view.onChange(() => snapshots.changed()));
  started.defer(() => snapshots.stop());
  const { source } = view.state;
  log.info({ node: config.node, admin: formatAddress(admin.address), source }, 'gateway is up');

  const rest = started.move();
  return {
    supervisor,
    kill: () => workers.kill(),
    stop: async () => {
      supervisor.drain();
      const isKnown = config.services.length > 0 && registrar.state.connected;
      if (isKnown) await delay(PROPAGATION_MS);
      const drained = workers.drain(DRAIN_GRACE_MS);
      // Or the kernel would take connections that nobody answers.
      closeAll(listeners);
      edge.close();
      await drained;
      const closed = rest.disposeAsync().catch((error: unknown) => {
        log.error({ err: error }, 'while stopping');
      });
      await Promise.race([closed, delay(CLOSE_MS)]);
    },
  };
}

interface PartsNeeded {
  readonly config: GatewayConfig;
  readonly lastGood: SnapshotContent | undefined;
  readonly store: Store;
  readonly trustDomain: string;
  readonly listeners: readonly OwnListener[];
  readonly identity: IdentitySource;
  readonly log: Log;
}

/** Makes the parts and tells each of those it talks to. Nothing runs yet. */
function connectParts(needed: PartsNeeded) {
  const { config, lastGood, store, trustDomain, listeners, identity, log } = needed;
  const version = packageVersion();
  const shared = { clock, rng, log };
  const rules = { parse: parseDocument, checkReferences, classify };
  const view = new RegistryView({
    ...shared,
    ...rules,
    store,
    ...(lastGood === undefined ? {} : { lastGood }),
  });
  const workers = new Workers({
    ...shared,
    count: config.workers,
    workerFile: WORKER_FILE,
    tables: () => supervisor.tables(),
    onApplied: () => supervisor.onApplied(),
  });
  const edge = new EdgeListeners({ host: workers, bind: bindListener, log });
  const advertise = config.mesh.advertise ?? listeners[0]!.socket.address;
  const registrar = new Registrar({
    ...shared,
    store,
    nodeKey: nodeKey(config.node),
    address: formatAddress(advertise),
  });
  const common = { view, workers, edge, identity, trustDomain, version };
  const supervisor: Supervisor = new Supervisor({
    ...shared,
    ...common,
    config,
    advertise,
    keys: registrar,
  });
  const snapshots = new SnapshotKeeper({
    folder: config.dataDir,
    clock,
    log,
    content: () => view.snapshot,
  });
  const source = adminSource({
    ...common,
    supervisor,
    listeners,
    store,
    clock,
    etcdCertFile: config.registry.kind === 'etcd' ? config.registry.certFile : undefined,
  });
  return { supervisor, view, workers, edge, registrar, snapshots, adminSource: source };
}

function settingsOf(
  { node, zone, gateway, accessLog }: GatewayConfig,
  trustDomain: string,
  admin: Address,
): WorkerSettings {
  return {
    node,
    zone,
    trustDomain,
    nodeIdentity: formatIdentity({ trustDomain, kind: 'node', name: node }),
    gateway,
    accessLog,
    adminAddress: formatAddress(admin),
  };
}

async function openAdmin(config: GatewayConfig, source: AdminSource, log: Log): Promise<Admin> {
  const { listen, socket } = config.admin;
  await mkdir(dirname(socket), { recursive: true, mode: 0o750 }).catch(() => {
    // `startAdmin` needs the folder, and says what is wrong with it.
  });
  return startAdmin(source, { listen, socket, log });
}

function closeAll(listeners: readonly OwnListener[]): void {
  for (const { socket } of listeners) socket.close();
}

function openStore(registry: RegistryConfig, log: Log): Promise<Store> {
  return registry.kind === 'etcd'
    ? openEtcdStore({ ...registry, log })
    : openEmbeddedStore({ file: registry.file, log });
}

/**
 * Before there are certificates: from the snapshot, so that nobody is waited for, else from the registry. Afterwards
 * theirs counts: an edit of `config/mesh` must not leave a gateway that starts again without any.
 */
async function findTrustDomain(
  lastGood: SnapshotContent | undefined,
  store: Store,
  log: Log,
): Promise<string> {
  const key = 'config/mesh';
  let text = lastGood?.documents.find((document) => document.key === key)?.text;
  if (lastGood === undefined) {
    try {
      text = (await store.get(key))?.value;
    } catch (error) {
      const problem = messageOf(error);
      log.warn({ problem }, 'no snapshot and no registry: taking the default trust domain');
    }
  }
  const parsed = text === undefined ? undefined : parseDocument(key, text);
  return trustDomainOf(parsed?.ok === true ? parsed.typed : undefined);
}

async function openIdentity(
  { identity, dataDir }: GatewayConfig,
  trustDomain: string,
  store: Store,
  log: Log,
  started: AsyncDisposableStack,
): Promise<IdentitySource> {
  if (identity?.files !== undefined && identity.ca === undefined) {
    return new IdentityFiles({ ...identity.files, trustDomain, clock, log });
  }
  const client =
    identity?.ca === undefined
      ? await openLocalCa({ dir: join(dataDir, 'ca'), trustDomain, store, clock, log })
      : new CaClient({ url: identity.ca, fingerprint: identity.caFingerprint });
  started.defer(() => client.close());
  return new IdentityKeeper({
    ...{ client, dataDir, trustDomain, clock, rng, log },
    ...(identity?.tokenFile === undefined ? {} : { tokenFile: identity.tokenFile }),
  });
}

/** @throws MeshError `listen_failed`: what only `listen` itself can tell, such as two that bound the same port at once */
async function allListening(workers: Workers, listeners: readonly OwnListener[]): Promise<void> {
  // The mesh listener waits for a certificate.
  const ids = listeners.map(({ spec }) => spec.id).filter((id) => id !== 'mesh');
  const failure = await workers.settled(ids, LISTENING_MS);
  const failed = listeners.find(({ spec }) => spec.id === failure?.id);
  if (failed === undefined) return;
  throw listenFailed(failed.socket.address, failed.setting, failure!.error);
}
