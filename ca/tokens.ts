import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { MeshError } from '#kit/errors.ts';
import type { Store } from '../registry/store/store.ts';
import type { Enrolment } from './policy.ts';

/**
 * One-use tokens with which a machine joins: `gm1.<id>.<secret>.<root fingerprint>`. One string is all that
 * has to be carried: the fingerprint lets the machine know its authority before it says the secret.
 */
export interface Token {
  readonly id: string;
  readonly secret: string;
  /** `sha256:<hex>` of the root. */
  readonly fingerprint: string;
}

const TOKEN = /^gm1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})\.([0-9a-f]{64})$/;

export const TOKEN_WANTED =
  'a token as "gatemesh ca token" prints it: gm1.<id>.<secret>.<root fingerprint>';

export function parseToken(text: string): Token | undefined {
  const match = TOKEN.exec(text.trim());
  if (match === null) return undefined;
  return { id: match[1]!, secret: match[2]!, fingerprint: `sha256:${match[3]}` };
}

/** What the registry keeps of a token: the hash of its secret, and what it is good for. */
interface TokenRecord extends Enrolment {
  /** Of the secret, hex. */
  readonly sha256: string;
  /** RFC 3339. */
  readonly expires: string;
}

/** What it keeps of a node that joined, so that its certificate can ask for those of its services. */
export interface EnrolmentRecord extends Enrolment {
  /** Id of the token it joined with. */
  readonly token: string;
  /** RFC 3339. */
  readonly enrolled: string;
}

export const tokenKey = (id: string): string => `ca/tokens/${id}`;
export const ENROLMENTS = 'ca/nodes/';
export const enrolmentKey = (node: string): string => `${ENROLMENTS}${node}`;

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** Makes a token and keeps its hash under a lease of its life. @returns the token's text, shown once */
export async function mintToken(
  store: Store,
  enrolment: Enrolment,
  fingerprint: string,
  ttlMs: number,
  nowMs: number,
): Promise<{ readonly id: string; readonly text: string; readonly expiresMs: number }> {
  const id = randomBytes(8).toString('hex');
  const secret = randomBytes(32).toString('base64url');
  const expiresMs = nowMs + ttlMs;
  const record: TokenRecord = {
    ...enrolment,
    sha256: hashOf(secret).toString('hex'),
    expires: new Date(expiresMs).toISOString(),
  };
  const lease = await store.grant(Math.ceil(ttlMs / 1000));
  await store.put(tokenKey(id), JSON.stringify(record), lease);
  return { id, text: `gm1.${id}.${secret}.${fingerprint.slice('sha256:'.length)}`, expiresMs };
}

/**
 * What an unspent token is good for; does not spend it. Wrong secret, unknown, spent and expired are one
 * answer, so that nothing can be learnt by trying.
 *
 * @throws MeshError `token_refused`, `store_unreachable`
 */
export async function checkToken(store: Store, token: Token, nowMs: number): Promise<Enrolment> {
  const entry = await store.get(tokenKey(token.id));
  const record = entry === undefined ? undefined : parseTokenRecord(entry.value);
  const kept = Buffer.from(record?.sha256 ?? '', 'hex');
  const given = hashOf(token.secret);
  // Always compared, and in constant time: neither the answer nor its delay tells how far a guess was right.
  const right = timingSafeEqual(given, kept.length === given.length ? kept : Buffer.alloc(32));
  if (record === undefined || !right || Date.parse(record.expires) <= nowMs) throw refused();
  return { node: record.node, services: record.services, gateway: record.gateway };
}

/**
 * Spends a checked token and records the node, in one transaction: of any number that try at once, one succeeds.
 *
 * @throws MeshError `token_refused`, `store_unreachable`
 */
export async function redeemToken(
  store: Store,
  token: Token,
  enrolment: Enrolment,
  nowMs: number,
): Promise<EnrolmentRecord> {
  const record: EnrolmentRecord = {
    ...enrolment,
    token: token.id,
    enrolled: new Date(nowMs).toISOString(),
  };
  const { succeeded } = await store.txn({
    compare: [{ key: tokenKey(token.id), target: 'version', op: '>', value: 0 }],
    success: [
      { type: 'delete', key: tokenKey(token.id) },
      { type: 'put', key: enrolmentKey(enrolment.node), value: JSON.stringify(record) },
    ],
  });
  if (!succeeded) throw refused();
  return record;
}

/** Undefined for anything that is not a whole enrolment: the registry is writable by others than us. */
export function parseEnrolment(value: string): Enrolment | undefined {
  const record = parseObject(value);
  if (record === undefined) return undefined;
  const { node, services, gateway } = record;
  if (typeof node !== 'string' || !Array.isArray(services)) return undefined;
  if (!services.every((name) => typeof name === 'string')) return undefined;
  if (gateway !== undefined && typeof gateway !== 'string') return undefined;
  return { node, services, gateway };
}

function parseTokenRecord(value: string): TokenRecord | undefined {
  const enrolment = parseEnrolment(value);
  const { sha256, expires } = parseObject(value) ?? {};
  if (enrolment === undefined || typeof sha256 !== 'string' || typeof expires !== 'string') {
    return undefined;
  }
  return { ...enrolment, sha256, expires };
}

function parseObject(value: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : undefined;
  } catch {
    return undefined;
  }
}

function refused(): MeshError {
  return new MeshError(
    'token_refused',
    'the token was used already, has expired, or was not made by this authority. Make a new one on the CA host: gatemesh ca token --node NAME',
  );
}
