import { X509Certificate } from 'node:crypto';
import { request as httpsRequest } from 'node:https';
import { connect, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import type { IssuedBatch } from './authority.ts';
import {
  joinKeys,
  prepareRequests,
  type CertificateAuthorityClient,
  type Issued,
} from './authority-client.ts';
import type { Identity, Svid, TrustBundle } from './identity.ts';
import { toPem } from './pem.ts';
import { parseToken, TOKEN_WANTED } from './tokens.ts';
import { fingerprint as fingerprintOf, readCertificate } from './x509.ts';

// What the gateway may take from ca/, beside identity.ts.
export type { CertificateAuthorityClient, Issued } from './authority-client.ts';
export { openLocalCa } from './local.ts';
export { judgeRenewal, renewAtMs, renewalRetryMs, type RenewalState } from './renewal.ts';
export { readSvid, rootTrustDomain } from './svid.ts';
export { parseToken } from './tokens.ts';

/** Of one call from its first packet to its last. */
const CALL_TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 1024 * 1024;

/** The authority over HTTPS. Holds no connection between calls. */
export class CaClient implements CertificateAuthorityClient {
  readonly name: string;
  readonly wantsToken = true;
  readonly #url: URL;
  readonly #fingerprint: string | undefined;
  readonly #timeoutMs: number;

  /**
   * @param options.url `https://10.0.0.10:15444`
   * @param options.fingerprint `sha256:<hex>` of the root; absent: the one in the token
   */
  constructor(options: {
    readonly url: string;
    readonly fingerprint: string | undefined;
    readonly timeoutMs?: number;
  }) {
    this.#url = new URL(options.url);
    this.#fingerprint = options.fingerprint;
    this.#timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS;
    this.name = `the CA at ${this.#url.origin}`;
  }

  /**
   * @throws MeshError `ca_unreachable` (exit code 69), `ca_fingerprint_mismatch`, `ca_untrusted`, `token_malformed`,
   *   or the code the authority answered with
   */
  async enrol(identities: readonly Identity[], tokenText: string | undefined): Promise<Issued> {
    const token = parseToken(tokenText ?? '');
    if (token === undefined) {
      throw new MeshError('token_malformed', `to enrol at ${this.name}: wanted ${TOKEN_WANTED}`);
    }
    const pin = this.#fingerprint ?? token.fingerprint;
    if (pin !== token.fingerprint) throw this.#mismatch(token.fingerprint, pin, 'the token is for');
    const rootPem = await this.#pinnedRoot(pin);
    const { wanted, keys } = prepareRequests(identities);
    const body = { token: tokenText!.trim(), csrs: wanted };
    return joinKeys(await this.#call<IssuedBatch>('/v1/enrol', [rootPem], body), keys, this.name);
  }

  /** @throws as `enrol` */
  async renew(holder: Svid, bundle: TrustBundle, identities: readonly Identity[]): Promise<Issued> {
    const { wanted, keys } = prepareRequests(identities);
    const body = { csrs: wanted };
    const batch = await this.#call<IssuedBatch>('/v1/renew', bundle.rootsPem, body, holder);
    return joinKeys(batch, keys, this.name);
  }

  /** @throws as `enrol` */
  async bundle(): Promise<TrustBundle> {
    if (this.#fingerprint === undefined) {
      throw new MeshError(
        'ca_fingerprint_missing',
        `${this.name}: set identity.caFingerprint to what "gatemesh ca status" shows on the CA host`,
        { exitCode: EXIT.usage },
      );
    }
    const rootPem = await this.#pinnedRoot(this.#fingerprint);
    return this.#call<TrustBundle>('/v1/bundle', [rootPem]);
  }

  async close(): Promise<void> {}

  /**
   * The root with this fingerprint, as the server shows it in its handshake. Nothing is sent on this connection; the one that
   * follows is verified against the root by OpenSSL.
   */
  async #pinnedRoot(pin: string): Promise<string> {
    const chain = await new Promise<readonly Buffer[]>((resolve, reject) => {
      const socket = connect(
        // Not verified here: without the root there is nothing to verify against, and nothing is said.
        { ...this.#target(), rejectUnauthorized: false, minVersion: 'TLSv1.3' },
        () => {
          resolve(chainOf(socket.getPeerCertificate(true)));
          socket.destroy();
        },
      );
      socket.setTimeout(this.#timeoutMs, () => socket.destroy(this.#slow()));
      socket.once('error', reject);
    }).catch((error: unknown) => {
      throw this.#failed(error);
    });
    const root = chain.find((der) => fingerprintOf(der) === pin);
    if (root !== undefined) return toPem('CERTIFICATE', root);
    const shown = chain.at(-1);
    throw this.#mismatch(shown === undefined ? 'none' : fingerprintOf(shown), pin, 'it shows');
  }

  async #call<T>(
    path: string,
    rootsPem: readonly string[],
    body?: object,
    holder?: Svid,
  ): Promise<T> {
    const { status, text } = await this.#exchange(path, rootsPem, body, holder).catch(
      (error: unknown) => {
        throw this.#failed(error);
      },
    );
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch (cause) {
      throw new MeshError('ca_answer_invalid', `${this.name} answered ${status} without JSON`, {
        cause,
      });
    }
    if (status === 200) return answer as T;
    const { error, message } = answer as { error?: string; message?: string };
    throw new MeshError(error ?? 'ca_answer_invalid', `${this.name}: ${message ?? status}`);
  }

  #exchange(
    path: string,
    rootsPem: readonly string[],
    body: object | undefined,
    holder: Svid | undefined,
  ): Promise<{ readonly status: number; readonly text: string }> {
    return new Promise((resolve, reject) => {
      const request = httpsRequest({
        ...this.#target(),
        path,
        method: body === undefined ? 'GET' : 'POST',
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        agent: false,
        minVersion: 'TLSv1.3',
        ca: [...rootsPem],
        checkServerIdentity: (_host, certificate) => authorityFault(certificate, rootsPem),
        ...(holder === undefined ? {} : { cert: holder.certPem, key: holder.keyPem }),
      });
      const timer = setTimeout(() => request.destroy(this.#slow()), this.#timeoutMs);
      request.once('close', () => clearTimeout(timer));
      request.once('error', reject);
      request.once('response', (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          bytes += chunk.length;
          if (bytes > MAX_ANSWER_BYTES) request.destroy(new Error('the answer is too long'));
        });
        response.once('error', reject);
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        );
      });
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  #target(): { readonly host: string; readonly port: number } {
    const host = this.#url.hostname.replace(/^\[|\]$/g, '');
    return { host, port: Number(this.#url.port || 443) };
  }

  #slow(): Error {
    return new Error(`no answer within ${this.#timeoutMs / 1000} s`);
  }

  /** Errors of the connection, in words. A verification error is no outage: trying again does not help. */
  #failed(cause: unknown): MeshError {
    if (cause instanceof MeshError) return cause;
    const code = (cause as NodeJS.ErrnoException).code ?? '';
    if (/CERT|ISSUER|SIGNATURE|VERIFY/.test(code)) {
      return new MeshError(
        'ca_untrusted',
        `${this.name} is not trusted: ${messageOf(cause)}. Compare identity.caFingerprint with "gatemesh ca status" on the CA host, and the clocks of both machines`,
        { cause },
      );
    }
    return new MeshError(
      'ca_unreachable',
      `cannot reach ${this.name}: ${messageOf(cause)}. Is "gatemesh ca serve" running there, and the port open?`,
      { cause, exitCode: EXIT.unreachable },
    );
  }

  #mismatch(got: string, wanted: string, who: string): MeshError {
    return new MeshError(
      'ca_fingerprint_mismatch',
      `${this.name} is not the one wanted: ${who} root ${got}, wanted ${wanted}. Nothing was sent. Take the fingerprint from "gatemesh ca status" on the CA host; if the two still differ, another machine is answering`,
    );
  }
}

/** Leaf first. OpenSSL links each certificate to its issuer; a root is its own. */
function chainOf(peer: DetailedPeerCertificate): readonly Buffer[] {
  const chain: Buffer[] = [];
  let certificate: DetailedPeerCertificate | undefined = peer;
  while (certificate?.raw !== undefined && !chain.some((der) => der.equals(certificate!.raw))) {
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
}

/**
 * A verified chain is not enough: any member of the mesh has one. The server's own name must be
 * that of the root's authority.
 */
function authorityFault(
  certificate: PeerCertificate,
  rootsPem: readonly string[],
): Error | undefined {
  const domain = readCertificate(new X509Certificate(rootsPem[0]!).raw).subjectAltName?.uris[0];
  const { subjectAltName, basicConstraints } = readCertificate(certificate.raw);
  const uris = subjectAltName?.uris ?? [];
  const isAuthority = uris.length === 1 && uris[0] === `${domain}/ca`;
  if (isAuthority && basicConstraints?.ca === false) return undefined;
  return Object.assign(new Error(`it is ${uris.join(', ') || 'nameless'}, not ${domain}/ca`), {
    code: 'ERR_TLS_CERT_NOT_THE_AUTHORITY',
  });
}
