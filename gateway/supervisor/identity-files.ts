import { readFile } from 'node:fs/promises';
import type { Cancel, Clock } from '#kit/clock.ts';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import { readSvid } from '../../ca/client.ts';
import {
  formatIdentity,
  type Identity,
  type IdentityMaterial,
  type Svid,
  type TrustBundle,
} from '../../ca/identity.ts';
import { certificatesIn } from './identity-disk.ts';
import { MaterialFeed, type IdentitySource, type IdentityState } from './identity-source.ts';

/** Files that were swapped are in use within this time. Watching folders would miss renames over network file systems. */
const LOOK_MS = 5_000;

export interface IdentityFilesOptions {
  readonly certFile: string;
  readonly keyFile: string;
  readonly bundleFile: string;
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * A certificate, its key and the roots that somebody else puts there and replaces (a request signed over SSH, or another
 * authority). They are read again when they change; a set that does not fit together changes nothing.
 */
export class IdentityFiles implements IdentitySource {
  readonly #options: IdentityFilesOptions;
  readonly #feed = new MaterialFeed();
  #wanted: readonly string[] = [];
  #svid: Svid | undefined;
  /** What was read last, so that an unchanged fault is told once. */
  #read = '';
  #error: string | undefined;
  #running = false;
  #round: Promise<void> | undefined;
  #cancelTimer: Cancel = () => {};

  constructor(options: IdentityFilesOptions) {
    this.#options = options;
  }

  get material(): IdentityMaterial | undefined {
    return this.#feed.material;
  }

  onMaterial(listener: (material: IdentityMaterial) => void): Cancel {
    return this.#feed.subscribe(listener);
  }

  setWanted(identities: readonly Identity[]): void {
    this.#wanted = identities.map(formatIdentity);
  }

  /** A fault in the files is logged, not thrown: they may be put right while the gateway runs. */
  async start(): Promise<void> {
    this.#running = true;
    await this.#look();
  }

  async stop(): Promise<void> {
    this.#running = false;
    this.#cancelTimer();
    await this.#round;
  }

  get state(): readonly IdentityState[] {
    const nowMs = this.#options.clock.wallMs();
    return this.#wanted.map((identity) => {
      const svid = this.#svid?.identity === identity ? this.#svid : undefined;
      const held = `${this.#options.certFile} is for ${this.#svid?.identity ?? 'nobody yet'}`;
      return {
        identity,
        status: svid === undefined ? 'missing' : svid.notAfterMs > nowMs ? 'fresh' : 'expired',
        notBeforeMs: svid?.notBeforeMs,
        notAfterMs: svid?.notAfterMs,
        nextRenewalMs: undefined,
        lastError: this.#error ?? (svid === undefined ? held : undefined),
        lastErrorCode: this.#error === undefined ? undefined : 'identity_files',
      };
    });
  }

  async #look(): Promise<void> {
    this.#round = this.#load();
    await this.#round;
    if (!this.#running) return;
    this.#cancelTimer = this.#options.clock.after(LOOK_MS, () => void this.#look());
  }

  async #load(): Promise<void> {
    const { certFile, keyFile, bundleFile, trustDomain, log } = this.#options;
    try {
      const files = [certFile, keyFile, bundleFile];
      const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
      const read = texts.join('\0');
      if (read === this.#read) return;
      this.#read = read;
      const [certPem, keyPem, bundlePem] = texts as [string, string, string];
      const svid = readSvid({ certPem, keyPem }, trustDomain, `${certFile} with ${keyFile}`);
      const bundle: TrustBundle = { trustDomain, rootsPem: certificatesIn(bundlePem) };
      if (bundle.rootsPem.length === 0) {
        throw new MeshError('no_pem', `${bundleFile}: wanted the roots in PEM, got none`);
      }
      this.#svid = svid;
      this.#error = undefined;
      const notAfter = new Date(svid.notAfterMs).toISOString();
      log.info(
        { identity: svid.identity, serial: svid.serial, notAfter },
        'certificate from files',
      );
      this.#feed.publish({ svids: new Map([[svid.identity, svid]]), bundle });
    } catch (error) {
      const message = messageOf(error);
      if (message !== this.#error) {
        const kept = this.#svid === undefined ? '' : '; the one read before stays in use';
        log.error(`identity files: ${message}${kept}`);
      }
      this.#error = message;
    }
  }
}
