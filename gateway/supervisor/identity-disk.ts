import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readSvid, rootTrustDomain } from '../../ca/client.ts';
import { formatIdentity, type Identity, type Svid, type TrustBundle } from '../../ca/identity.ts';
import { replaceFile } from '#kit/atomic-file.ts';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';

const FOLDER = 'identity';
const BUNDLE = 'bundle.pem';
const USED_TOKENS = 'used-tokens';

/**
 * Keys and certificates on disk, under `<dataDir>/identity` (0700), so that a gateway that starts while its authority is away
 * serves at once. Key and chain of an identity share one file: two files could be left from two different renewals.
 */
export class IdentityDisk {
  readonly #folder: string;
  readonly #trustDomain: string;
  readonly #log: Log;

  constructor(dataDir: string, trustDomain: string, log: Log) {
    this.#folder = join(dataDir, FOLDER);
    this.#trustDomain = trustDomain;
    this.#log = log;
  }

  /** @throws MeshError `data_dir_unwritable` */
  async open(): Promise<void> {
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw new MeshError(
        'data_dir_unwritable',
        `cannot keep keys in ${this.#folder}: ${messageOf(cause)}. dataDir must belong to the user the gateway runs as`,
        { cause },
      );
    }
  }

  /** Undefined when there is none, or none that can be read; the log says why. */
  async readSvid(identity: Identity): Promise<Svid | undefined> {
    const path = this.#pathOf(identity);
    const text = await this.#read(path);
    if (text === undefined) return undefined;
    try {
      const svid = readSvid(
        { certPem: certificatesIn(text).join(''), keyPem: keyIn(text) },
        this.#trustDomain,
        path,
      );
      if (svid.identity === formatIdentity(identity)) return svid;
      throw new MeshError('svid_invalid', `${path} is the certificate of ${svid.identity}`);
    } catch (error) {
      this.#log.error({ path }, `certificate on disk not used: ${messageOf(error)}`);
      return undefined;
    }
  }

  /** Rejects when the disk does not take it. */
  async writeSvid(identity: Identity, svid: Svid): Promise<void> {
    await replaceFile(this.#pathOf(identity), svid.keyPem + svid.certPem);
  }

  async readBundle(): Promise<TrustBundle | undefined> {
    const text = await this.#read(join(this.#folder, BUNDLE));
    const rootsPem = certificatesIn(text ?? '');
    return rootsPem.length === 0 ? undefined : { trustDomain: this.#trustDomain, rootsPem };
  }

  async writeBundle(bundle: TrustBundle): Promise<void> {
    await replaceFile(join(this.#folder, BUNDLE), bundle.rootsPem.join(''));
  }

  /** True when this machine joined with this token before. */
  async isUsed(token: string): Promise<boolean> {
    const used = await this.#read(join(this.#folder, USED_TOKENS));
    return used?.split('\n').includes(hashOf(token)) ?? false;
  }

  async rememberUsed(token: string): Promise<void> {
    const path = join(this.#folder, USED_TOKENS);
    await replaceFile(path, `${(await this.#read(path)) ?? ''}${hashOf(token)}\n`);
  }

  #pathOf({ kind, name }: Identity): string {
    return join(this.#folder, `${kind}.${name}.pem`);
  }

  async #read(path: string): Promise<string | undefined> {
    try {
      return await readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        this.#log.error({ path }, `cannot be read: ${messageOf(error)}`);
      }
      return undefined;
    }
  }
}

/** The trust domain of the certificates that lie in `dataDir`; undefined before the first. */
export async function heldTrustDomain(dataDir: string): Promise<string | undefined> {
  try {
    const [root = ''] = certificatesIn(await readFile(join(dataDir, FOLDER, BUNDLE), 'utf8'));
    return rootTrustDomain(root);
  } catch {
    // Whoever opens the folder for good says what is wrong with it.
    return undefined;
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const KEY = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----/;

/** Each certificate of a PEM text, whatever stands around it. */
export function certificatesIn(text: string): readonly string[] {
  return (text.match(CERTIFICATE) ?? []).map((pem) => `${pem}\n`);
}

function keyIn(text: string): string {
  return KEY.exec(text)?.[0] ?? '';
}

/** Of a spent token only its hash is kept, so that the file is worth nothing to whoever reads it. */
function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
