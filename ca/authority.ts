import { join } from 'node:path';
import type { Clock } from '#kit/clock.ts';
import { formatDuration } from '#kit/duration.ts';
import { MeshError } from '#kit/errors.ts';
import type { Log } from '#kit/log.ts';
import type { Store } from '../registry/store/store.ts';
import { FILES, openIssuer, readAuthority, type AuthorityDirectory } from './directory.ts';
import { Enrolments } from './enrolments.ts';
import { formatIdentity, type Identity, type TrustBundle } from './identity.ts';
import {
  certify,
  examine,
  issue,
  Refusal,
  type Examined,
  type IssuedCertificate,
  type IssuingAuthority,
} from './issue.ts';
import { Ledger } from './ledger.ts';
import {
  describeEnrolment,
  MAX_TOKEN_TTL_MS,
  MIN_TOKEN_TTL_MS,
  type Caller,
  type Enrolment,
} from './policy.ts';
import { leafCertificate, type Leaf, type LeafNames } from './profile.ts';
import { checkToken, mintToken, parseToken, redeemToken, TOKEN_WANTED } from './tokens.ts';

/** A wanted certificate: a SPIFFE id and a request (PEM) that proves a key. */
export interface WantedCertificate {
  readonly identity: string;
  readonly csr: string;
}

/** The answer to a batch: each wanted identity is in one of the two lists. */
export interface IssuedBatch {
  readonly certificates: readonly IssuedCertificate[];
  readonly refused: readonly {
    readonly identity: string;
    readonly error: string;
    readonly message: string;
  }[];
  readonly bundle: TrustBundle;
}

/**
 * An open authority: its issuer, book, enrolments and tokens put together. Who may ask is decided here and in
 * `policy.ts`; how a question arrives (HTTPS, local socket, in process) is not its business.
 */
export class Authority {
  readonly directory: AuthorityDirectory;
  readonly bundle: TrustBundle;
  readonly #issuing: IssuingAuthority;
  readonly #enrolments: Enrolments;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: Log;

  private constructor(
    directory: AuthorityDirectory,
    issuing: IssuingAuthority,
    enrolments: Enrolments,
    options: AuthorityOptions,
  ) {
    this.directory = directory;
    this.bundle = {
      trustDomain: directory.trustDomain,
      rootsPem: directory.roots.map(({ pem }) => pem),
    };
    this.#issuing = issuing;
    this.#enrolments = enrolments;
    this.#store = options.store;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** @throws MeshError `ca_missing`, `ca_damaged`, `ca_key_unreadable`, `ca_ledger_unwritable` */
  static async open(options: AuthorityOptions): Promise<Authority> {
    const { dir, passphrase, leafTtlMs, store, clock, log } = options;
    const directory = await readAuthority(dir);
    const issuer = await openIssuer(directory, passphrase);
    const ledger = await Ledger.open(join(dir, FILES.ledger), clock.wallMs());
    const enrolments = new Enrolments({ store, file: join(dir, FILES.enrolments), clock, log });
    await enrolments.start();
    const issuing: IssuingAuthority = {
      trustDomain: directory.trustDomain,
      issuer,
      issuerPem: directory.issuer.pem,
      ledger,
      leafTtlMs,
      nowMs: () => clock.wallMs(),
    };
    return new Authority(directory, issuing, enrolments, options);
  }

  async close(): Promise<void> {
    await this.#enrolments.stop();
    await this.#issuing.ledger.close();
  }

  get issued(): number {
    return this.#issuing.ledger.issued;
  }

  /** One certificate for someone with access to the local socket. @throws Refusal */
  async sign(wanted: WantedCertificate, ttlMs: number | undefined): Promise<IssuedCertificate> {
    const caller: Caller = { kind: 'operator' };
    const request = { ...wanted, caller, requester: 'operator' };
    try {
      return await issue(ttlMs === undefined ? request : { ...request, ttlMs }, this.#issuing);
    } catch (error) {
      await this.#recordRefusal(wanted.identity, 'operator', error);
      throw error;
    }
  }

  /** Certificates for the process that has this authority inside. */
  async grant(wanted: readonly WantedCertificate[]): Promise<IssuedBatch> {
    return this.#certifyAll(await this.#examineAll(wanted, { kind: 'local' }, 'local'), 'local');
  }

  /**
   * A node with its services and edge gateway, for one token. Everything is examined first: a token is not lost to a
   * request that would be refused.
   *
   * @throws Refusal; MeshError `token_malformed`, `token_refused`, `enrol_without_node`, `store_unreachable`
   */
  async enrol(
    tokenText: string,
    wanted: readonly WantedCertificate[],
    remote: string,
  ): Promise<IssuedBatch> {
    const token = parseToken(tokenText);
    if (token === undefined) throw new MeshError('token_malformed', `wanted ${TOKEN_WANTED}`);
    const enrolment = await checkToken(this.#store, token, this.#clock.wallMs());
    const requester = `token ${token.id}`;
    const judged = await this.#examineAll(wanted, { kind: 'token', enrolment }, requester);
    const own = { trustDomain: this.#issuing.trustDomain, kind: 'node', name: enrolment.node };
    const ownId = formatIdentity(own as Identity);
    if (!judged.examined.some(({ request }) => request.identity === ownId)) {
      throw (
        judged.firstRefusal ??
        new MeshError('enrol_without_node', `to enrol, ${ownId} must be among the requests`)
      );
    }
    // First into the book: with a full disk nothing could be signed, and the token would be lost for nothing. Of several
    // that try at once each has its line, and all but one of them come to nothing.
    await this.#issuing.ledger.record(
      { event: 'token-redeem', token: token.id, node: enrolment.node, requester: remote },
      this.#clock.wallMs(),
    );
    await redeemToken(this.#store, token, enrolment, this.#clock.wallMs());
    this.#enrolments.add(enrolment);
    this.#log.info({ token: token.id, remote }, `enrolled ${describeEnrolment(enrolment)}`);
    return this.#certifyAll(judged, requester);
  }

  /** Certificates for the holder of a valid one. @throws Refusal when nothing that was asked for is granted */
  async renew(holder: Identity, wanted: readonly WantedCertificate[]): Promise<IssuedBatch> {
    const enrolment = holder.kind === 'node' ? this.#enrolments.get(holder.name) : undefined;
    const requester = formatIdentity(holder);
    const caller: Caller = { kind: 'certificate', identity: holder, enrolment };
    const judged = await this.#examineAll(wanted, caller, requester);
    if (judged.examined.length === 0 && judged.firstRefusal !== undefined) {
      throw judged.firstRefusal;
    }
    return this.#certifyAll(judged, requester);
  }

  /** @throws MeshError `ttl_not_allowed`, `store_unreachable` */
  async mint(
    enrolment: Enrolment,
    ttlMs: number,
  ): Promise<{ readonly token: string; readonly expiresMs: number }> {
    if (ttlMs < MIN_TOKEN_TTL_MS || ttlMs > MAX_TOKEN_TTL_MS) {
      throw new MeshError(
        'ttl_not_allowed',
        `a token lives from ${formatDuration(MIN_TOKEN_TTL_MS)} to ${formatDuration(MAX_TOKEN_TTL_MS)}`,
      );
    }
    const nowMs = this.#clock.wallMs();
    const { fingerprint } = this.directory.roots[0]!;
    const { id, text, expiresMs } = await mintToken(
      this.#store,
      enrolment,
      fingerprint,
      ttlMs,
      nowMs,
    );
    await this.#issuing.ledger.record(
      { event: 'token-mint', token: id, node: enrolment.node },
      nowMs,
    );
    return { token: text, expiresMs };
  }

  /** A certificate for the authority's own server; not a member of the mesh, so not in the book. */
  serverLeaf(names: LeafNames, spki: Buffer): Leaf {
    const { issuer, leafTtlMs } = this.#issuing;
    return leafCertificate(names, spki, issuer, this.#clock.wallMs(), leafTtlMs);
  }

  async #examineAll(
    wanted: readonly WantedCertificate[],
    caller: Caller,
    requester: string,
  ): Promise<Judged> {
    const examined: Examined[] = [];
    const refused: IssuedBatch['refused'][number][] = [];
    let firstRefusal: Refusal | undefined;
    for (const { identity, csr } of wanted) {
      try {
        examined.push(examine({ identity, csr, caller, requester }, this.#issuing));
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        firstRefusal ??= error;
        refused.push({ identity, error: error.code, message: error.message });
        await this.#recordRefusal(identity, requester, error);
      }
    }
    return { examined, refused, firstRefusal };
  }

  async #certifyAll(judged: Judged, requester: string): Promise<IssuedBatch> {
    const refused = [...judged.refused];
    const answers = await Promise.allSettled(
      judged.examined.map((examined) => certify(examined, this.#issuing)),
    );
    const certificates: IssuedCertificate[] = [];
    for (const [i, answer] of answers.entries()) {
      if (answer.status === 'fulfilled') {
        certificates.push(answer.value);
        continue;
      }
      const { identity } = judged.examined[i]!.request;
      if (!(answer.reason instanceof Refusal)) throw answer.reason;
      const { code, message } = answer.reason;
      refused.push({ identity, error: code, message });
      await this.#recordRefusal(identity, requester, answer.reason);
    }
    return { certificates, refused, bundle: this.bundle };
  }

  async #recordRefusal(identity: string, requester: string, error: unknown): Promise<void> {
    if (!(error instanceof Refusal)) return;
    const { code } = error;
    this.#log.warn({ code, identity, requester }, `refused: ${error.message}`);
    // A name as long as the request allows does not belong in the book.
    const shortened = identity.slice(0, 300);
    await this.#issuing.ledger.record(
      { event: 'refuse', identity: shortened, code, requester },
      this.#clock.wallMs(),
    );
  }
}

interface Judged {
  readonly examined: readonly Examined[];
  readonly refused: IssuedBatch['refused'];
  readonly firstRefusal: Refusal | undefined;
}

export interface AuthorityOptions {
  readonly dir: string;
  readonly passphrase: string | undefined;
  readonly leafTtlMs: number;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}
