import { readFile } from 'node:fs/promises';
import type { Cancel, Clock } from '#kit/clock.ts';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type { Rng } from '#kit/rng.ts';
import {
  judgeRenewal,
  parseToken,
  renewAtMs,
  renewalRetryMs,
  type CertificateAuthorityClient,
  type Issued,
} from '../../ca/client.ts';
import {
  formatIdentity,
  type Identity,
  type IdentityMaterial,
  type Svid,
  type TrustBundle,
} from '../../ca/identity.ts';
import { IdentityDisk } from './identity-disk.ts';
import { MaterialFeed, type IdentitySource, type IdentityState } from './identity-source.ts';

/** The wall clock may jump; a timer alone would not notice. */
const LOOK_MS = 30_000;
const SHORTEST_WAIT_MS = 20;

export interface IdentityKeeperOptions {
  readonly client: CertificateAuthorityClient;
  readonly dataDir: string;
  readonly trustDomain: string;
  readonly tokenFile?: string;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
}

/** A certificate in use, and when it is to be renewed (drawn once). */
interface Held {
  readonly svid: Svid;
  readonly renewAtMs: number;
}

interface Failure {
  readonly attempts: number;
  readonly error: string;
  readonly code: string;
  /** Monotonic ms. */
  readonly retryAt: number;
}

/**
 * Keeps one certificate per wanted identity: joins with the token once, renews each with a new key at half of its life by
 * means of the node's certificate, gets those that are wanted later the same way, and has all of it on disk.
 * No failure takes away a certificate that is still valid.
 */
export class IdentityKeeper implements IdentitySource {
  readonly #client: CertificateAuthorityClient;
  readonly #disk: IdentityDisk;
  readonly #tokenFile: string | undefined;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #log: Log;
  readonly #feed = new MaterialFeed();
  /** By SPIFFE id, as are the two below. */
  #wanted = new Map<string, Identity>();
  readonly #held = new Map<string, Held>();
  readonly #failures = new Map<string, Failure>();
  #bundle: TrustBundle | undefined;
  /** Refused by the authority: not tried again until the file holds another. */
  #refusedToken: string | undefined;
  #running = false;
  #round: Promise<void> | undefined;
  #lookAgain = false;
  #cancelTimer: Cancel = () => {};

  constructor(options: IdentityKeeperOptions) {
    this.#client = options.client;
    this.#disk = new IdentityDisk(options.dataDir, options.trustDomain, options.log);
    this.#tokenFile = options.tokenFile;
    this.#clock = options.clock;
    this.#rng = options.rng;
    this.#log = options.log;
  }

  get material(): IdentityMaterial | undefined {
    return this.#feed.material;
  }

  onMaterial(listener: (material: IdentityMaterial) => void): Cancel {
    return this.#feed.subscribe(listener);
  }

  setWanted(identities: readonly Identity[]): void {
    this.#wanted = new Map(identities.map((identity) => [formatIdentity(identity), identity]));
    for (const uri of this.#held.keys()) if (!this.#wanted.has(uri)) this.#held.delete(uri);
    for (const uri of this.#failures.keys()) if (!this.#wanted.has(uri)) this.#failures.delete(uri);
    this.#look();
  }

  /** @throws MeshError `data_dir_unwritable` */
  async start(): Promise<void> {
    await this.#disk.open();
    this.#bundle = await this.#disk.readBundle();
    await this.#loadWanted();
    this.#publish();
    this.#running = true;
    this.#look();
  }

  async stop(): Promise<void> {
    this.#running = false;
    this.#cancelTimer();
    await this.#round;
  }

  get state(): readonly IdentityState[] {
    return Array.from(this.#wanted.keys(), (identity) => {
      const held = this.#held.get(identity);
      const failure = this.#failures.get(identity);
      return {
        identity,
        status: held === undefined ? 'missing' : this.#judge(held),
        notBeforeMs: held?.svid.notBeforeMs,
        notAfterMs: held?.svid.notAfterMs,
        nextRenewalMs: this.#clock.wallMs() + this.#waitMs(identity),
        lastError: failure?.error,
        lastErrorCode: failure?.code,
      };
    });
  }

  #judge({ svid, renewAtMs: renewAt }: Held) {
    return judgeRenewal(svid, renewAt, this.#clock.wallMs());
  }

  /** Starts a round now; one round at a time. */
  #look(): void {
    if (!this.#running) return;
    this.#cancelTimer();
    if (this.#round !== undefined) {
      this.#lookAgain = true;
      return;
    }
    this.#round = this.#renewDue()
      .catch((error: unknown) => this.#log.error(`certificates: ${messageOf(error)}`))
      .finally(() => {
        this.#round = undefined;
        this.#scheduleNext();
      });
  }

  #scheduleNext(): void {
    if (!this.#running) return;
    if (this.#lookAgain) {
      this.#lookAgain = false;
      this.#look();
      return;
    }
    const waits = Array.from(this.#wanted.keys(), (uri) => this.#waitMs(uri));
    const waitMs = Math.max(SHORTEST_WAIT_MS, Math.min(LOOK_MS, ...waits));
    this.#cancelTimer = this.#clock.after(waitMs, () => this.#look());
  }

  /** Until this identity is to be asked for; 0 when that is now. */
  #waitMs(uri: string): number {
    const held = this.#held.get(uri);
    const failure = this.#failures.get(uri);
    if (failure !== undefined) return Math.max(0, failure.retryAt - this.#clock.now());
    if (held === undefined || this.#judge(held) !== 'fresh') return 0;
    return held.renewAtMs - this.#clock.wallMs();
  }

  async #renewDue(): Promise<void> {
    await this.#loadWanted();
    const due = Array.from(this.#wanted).filter(([uri]) => this.#waitMs(uri) <= 0);
    if (due.length > 0) {
      const identities = due.map(([, identity]) => identity);
      try {
        await this.#take(await this.#ask(identities));
      } catch (error) {
        for (const identity of identities) this.#failed(formatIdentity(identity), error);
      }
    }
    // Also without news: what has ended in the meantime is taken back.
    this.#publish();
  }

  /** By the node's certificate while that is valid; by token when it is not, or when it is not enough. */
  async #ask(identities: readonly Identity[]): Promise<Issued> {
    if (!this.#client.wantsToken) return this.#client.enrol(identities, undefined);
    const node = Array.from(this.#wanted.values()).find(({ kind }) => kind === 'node');
    const holder = node === undefined ? undefined : this.#held.get(formatIdentity(node));
    if (holder === undefined || this.#bundle === undefined || this.#judge(holder) === 'expired') {
      return this.#enrol(withNode(node, identities));
    }
    try {
      const issued = await this.#client.renew(holder.svid, this.#bundle, identities);
      if (issued.refused.length === 0) return issued;
      // Some were granted: keep those, and ask for the others in the next round, by token if there is a new one.
      if (issued.svids.length > 0) return issued;
      throw new MeshError('identity_not_allowed', issued.refused[0]!.message);
    } catch (error) {
      const refused = error instanceof MeshError && error.code === 'identity_not_allowed';
      if (refused && (await this.#unusedToken()) !== undefined) {
        return this.#enrol(withNode(node, identities));
      }
      throw error;
    }
  }

  async #enrol(identities: readonly Identity[]): Promise<Issued> {
    const token = await this.#unusedToken();
    if (token === undefined) throw this.#noToken();
    try {
      const issued = await this.#client.enrol(identities, token);
      await this.#write(() => this.#disk.rememberUsed(token));
      return issued;
    } catch (error) {
      if (error instanceof MeshError && error.code === 'token_refused') this.#refusedToken = token;
      throw error;
    }
  }

  #noToken(): MeshError {
    const make = 'make one on the CA host with "gatemesh ca token --node NAME --services …"';
    if (this.#tokenFile === undefined) {
      return new MeshError(
        'token_missing',
        `no certificate that is still valid, and no identity.tokenFile to join with: ${make} and set it`,
      );
    }
    const used = this.#refusedToken === undefined ? '' : ' or holds one that is spent or expired';
    return new MeshError(
      'token_missing',
      `${this.#tokenFile} has no unused token${used}: ${make} and put it there; the file is looked at again`,
    );
  }

  /** From the file, unless it was used by this machine or refused already. */
  async #unusedToken(): Promise<string | undefined> {
    if (this.#tokenFile === undefined) return undefined;
    let token: string;
    try {
      token = (await readFile(this.#tokenFile, 'utf8')).trim();
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      if (!missing) this.#log.error(`identity.tokenFile: ${messageOf(error)}`);
      return undefined;
    }
    if (token === '' || token === this.#refusedToken) return undefined;
    if (parseToken(token) === undefined) {
      throw new MeshError(
        'token_malformed',
        `${this.#tokenFile} does not hold a token: write the line that "gatemesh ca token" prints into it`,
      );
    }
    return (await this.#disk.isUsed(token)) ? undefined : token;
  }

  /** In use first, in one turn, then on disk: a slow disk must not keep a certificate waiting. */
  async #take({ svids, refused, bundle }: Issued): Promise<void> {
    this.#bundle = bundle;
    const kept = svids.filter(({ identity }) => this.#wanted.has(identity));
    for (const svid of kept) this.#hold(svid);
    for (const { identity, error, message } of refused) {
      if (this.#wanted.has(identity)) this.#failed(identity, new MeshError(error, message));
    }
    this.#publish();
    await this.#write(() => this.#disk.writeBundle(bundle));
    for (const svid of kept) {
      const identity = this.#wanted.get(svid.identity);
      if (identity !== undefined) await this.#write(() => this.#disk.writeSvid(identity, svid));
    }
  }

  #hold(svid: Svid): void {
    const held = { svid, renewAtMs: renewAtMs(svid, this.#rng()) };
    this.#held.set(svid.identity, held);
    const verdict = this.#judge(held);
    if (verdict === 'fresh') {
      this.#failures.delete(svid.identity);
      const notAfter = new Date(svid.notAfterMs).toISOString();
      this.#log.info({ identity: svid.identity, serial: svid.serial, notAfter }, 'certificate');
      return;
    }
    // Asking again at once would not help: the two clocks would still differ.
    const [from, to] = [svid.notBeforeMs, svid.notAfterMs].map((ms) => new Date(ms).toISOString());
    const message = `clock_skew: the certificate just issued is good from ${from} to ${to}, and this machine has ${new Date(this.#clock.wallMs()).toISOString()}: set the clock`;
    this.#failed(svid.identity, new MeshError('clock_skew', message));
  }

  #failed(uri: string, error: unknown): void {
    const held = this.#held.get(uri);
    const leftMs = held === undefined ? undefined : held.svid.notAfterMs - this.#clock.wallMs();
    const attempts = this.#failures.get(uri)?.attempts ?? 0;
    const waitMs = renewalRetryMs(attempts, leftMs, this.#rng);
    const message = messageOf(error);
    const code = error instanceof MeshError ? error.code : 'internal';
    this.#failures.set(uri, {
      attempts: attempts + 1,
      error: message,
      code,
      retryAt: this.#clock.now() + waitMs,
    });
    const alarming = held === undefined || ['urgent', 'expired'].includes(this.#judge(held));
    this.#log[alarming ? 'error' : 'warn'](
      { identity: uri, code, notAfterMs: held?.svid.notAfterMs, retryInMs: Math.round(waitMs) },
      `no new certificate: ${message}`,
    );
  }

  /** What cannot be written is used from memory: a full disk must not stop renewals. */
  async #write(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      this.#log.error(`not saved, a restart would not find it: ${messageOf(error)}`);
    }
  }

  async #loadWanted(): Promise<void> {
    for (const [uri, identity] of this.#wanted) {
      if (this.#held.has(uri)) continue;
      const svid = await this.#disk.readSvid(identity);
      if (svid === undefined || svid.notAfterMs <= this.#clock.wallMs()) continue;
      this.#held.set(uri, { svid, renewAtMs: renewAtMs(svid, this.#rng()) });
    }
  }

  #publish(): void {
    if (this.#bundle === undefined) return;
    const nowMs = this.#clock.wallMs();
    const svids = new Map<string, Svid>();
    for (const [uri, { svid }] of this.#held) {
      if (this.#wanted.has(uri) && svid.notAfterMs > nowMs) svids.set(uri, svid);
    }
    if (svids.size > 0 || this.#feed.material !== undefined) {
      this.#feed.publish({ svids, bundle: this.#bundle });
    }
  }
}

/** A token is redeemed by the node itself, so its own certificate is always part of it. */
function withNode(
  node: Identity | undefined,
  identities: readonly Identity[],
): readonly Identity[] {
  return node === undefined || identities.includes(node) ? identities : [node, ...identities];
}
