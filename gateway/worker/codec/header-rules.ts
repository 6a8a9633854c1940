import { LOWER } from './chars.ts';

const LETTER_X = 0x78;
const UNDERSCORE = 0x5f;
/** Of a name without a rule; `RULE.none` is a rule: this one of a family passes. */
const UNKNOWN = -1;

/**
 * Which fields mean something to a gateway, by where the message comes from. Everything else is
 * copied as it stands. The order that keeps identity headers safe (CVE-2026-33805 in reply-from):
 * hop-by-hop fields leave first, then reserved ones, then the gateway adds its own.
 */
export const RULE = {
  none: 0,
  /** Dropped: hop-by-hop, or reserved for gateways. */
  drop: 1,
  /** An underscore spelling of a framing field: some servers read it as the real one. */
  refuse: 2,
  host: 3,
  contentLength: 4,
  transferEncoding: 5,
  connection: 6,
  keepAlive: 7,
  expect: 8,
  upgrade: 9,
  te: 10,
  requestId: 11,
  traceparent: 12,
  forwardedFor: 13,
  forwardedProto: 14,
  forwardedHost: 15,
  instance: 16,
  reason: 17,
  hops: 18,
} as const;

interface Name {
  /** Lower case. */
  readonly bytes: Buffer;
  readonly rule: number;
}

/** Slots of the hash table of names; a power of two, several times what any set of rules has. */
const SLOTS = 256;

/**
 * Looks a field's name up by its bytes; made once per kind of message. A name is compared where it
 * lies: a string made of it, lower-cased and hashed, for each field of each message was a tenth of
 * what a request costs (test/bench/micro-codec.ts).
 */
export class HeaderRules {
  /** 1 for first bytes that any rule starts with: the cheapest possible "not interesting". */
  readonly first = new Uint8Array(256);
  readonly #lengths = new Uint8Array(256);
  /** By `slotOf`, with the next free slot for those that share one. */
  readonly #slots: (Name | undefined)[] = Array.from({ length: SLOTS }, () => undefined);
  readonly #families: readonly Name[];

  /**
   * @param names lower-case field name to rule
   * @param families prefixes (all starting with `x-`) whose other members share a rule
   */
  constructor(
    names: Readonly<Record<string, number>>,
    families: readonly (readonly [prefix: string, rule: number])[],
  ) {
    this.#families = families.map(([prefix, rule]) => ({ bytes: Buffer.from(prefix), rule }));
    for (const [text, rule] of Object.entries(names)) {
      const bytes = Buffer.from(text);
      let slot = slotOf(bytes, 0, bytes.length);
      while (this.#slots[slot] !== undefined) slot = (slot + 1) % SLOTS;
      this.#slots[slot] = { bytes, rule };
      this.#lengths[bytes.length] = 1;
    }
    for (const text of [...Object.keys(names), ...families.map(([prefix]) => prefix)]) {
      const lower = text.charCodeAt(0);
      this.first[lower] = 1;
      this.first[lower - 32] = 1;
    }
  }

  lookUp(bytes: Buffer, start: number, end: number): number {
    const isFamily = LOWER[bytes[start]!] === LETTER_X;
    if (!isFamily && this.#lengths[end - start] === 0) return RULE.none;
    const exact = this.#exact(bytes, start, end);
    if (exact !== UNKNOWN) return exact;
    if (hasUnderscore(bytes, start, end)) return this.#underscored(bytes, start, end);
    return isFamily ? this.#family(bytes, start, end) : RULE.none;
  }

  #exact(bytes: Buffer, start: number, end: number): number {
    let slot = slotOf(bytes, start, end);
    for (;;) {
      const name = this.#slots[slot];
      if (name === undefined) return UNKNOWN;
      if (name.bytes.length === end - start && startsWith(bytes, start, name.bytes)) {
        return name.rule;
      }
      slot = (slot + 1) % SLOTS;
    }
  }

  #family(bytes: Buffer, start: number, end: number): number {
    for (const { bytes: prefix, rule } of this.#families) {
      if (end - start >= prefix.length && startsWith(bytes, start, prefix)) return rule;
    }
    return RULE.none;
  }

  /** `x_forwarded_for` becomes HTTP_X_FORWARDED_FOR in CGI and WSGI, as the real one does: never passed on. */
  #underscored(bytes: Buffer, start: number, end: number): number {
    const name = Buffer.from(bytes.latin1Slice(start, end).replaceAll('_', '-'), 'latin1');
    const exact = this.#exact(name, 0, name.length);
    const rule = exact === UNKNOWN ? this.#family(name, 0, name.length) : exact;
    if (rule === RULE.none) return RULE.none;
    return rule === RULE.contentLength || rule === RULE.transferEncoding ? RULE.refuse : RULE.drop;
  }
}

/** Names that matter differ in length, first or last letter often enough. */
function slotOf(bytes: Buffer, start: number, end: number): number {
  const first = LOWER[bytes[start]!]!;
  const last = LOWER[bytes[end - 1]!]!;
  const middle = LOWER[bytes[(start + end) >>> 1]!]!;
  return (((end - start) * 31 + first) * 7 + last * 5 + middle) & (SLOTS - 1);
}

function startsWith(bytes: Buffer, start: number, lower: Buffer): boolean {
  for (let i = 0; i < lower.length; i++) {
    if (LOWER[bytes[start + i]!] !== lower[i]) return false;
  }
  return true;
}

function hasUnderscore(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] === UNDERSCORE) return true;
  return false;
}

/** RFC 9110 §7.6.1 and the non-standard ones that only concern one connection. */
const HOP_BY_HOP = {
  connection: RULE.connection,
  'keep-alive': RULE.keepAlive,
  'proxy-connection': RULE.drop,
  'proxy-authenticate': RULE.drop,
  'proxy-authorization': RULE.drop,
  'proxy-authentication-info': RULE.drop,
  'http2-settings': RULE.drop,
  te: RULE.te,
  upgrade: RULE.upgrade,
  'transfer-encoding': RULE.transferEncoding,
  'content-length': RULE.contentLength,
} as const;

const REQUEST = {
  ...HOP_BY_HOP,
  host: RULE.host,
  expect: RULE.expect,
  'x-request-id': RULE.requestId,
  traceparent: RULE.traceparent,
  'x-forwarded-client-cert': RULE.drop,
} as const;

/** Set only by gateways, whoever sends them. */
const OWN: readonly (readonly [string, number])[] = [
  ['x-gatemesh-', RULE.drop],
  ['x-spiffe-', RULE.drop],
];

const FORWARDED = {
  'x-forwarded-for': RULE.forwardedFor,
  'x-forwarded-proto': RULE.forwardedProto,
  'x-forwarded-host': RULE.forwardedHost,
} as const;

/** How often gateways have taken this request in, on this or an earlier leg of a loop. */
const HOPS = { 'x-gatemesh-hops': RULE.hops } as const;

/** From strangers: nothing that some service might take for a gateway's word survives. */
export const EDGE_RULES = new HeaderRules(
  {
    ...REQUEST,
    forwarded: RULE.drop,
    proxy: RULE.drop,
    'x-real-ip': RULE.drop,
    'x-original-url': RULE.drop,
    'x-rewrite-url': RULE.drop,
    'x-http-method-override': RULE.drop,
  },
  [...OWN, ['x-forwarded-', RULE.drop], ['x-ssl-', RULE.drop], ['x-envoy-', RULE.drop]],
);

/** From a configured trusted proxy: its word about the client is taken and added to. */
export const TRUSTED_EDGE_RULES = new HeaderRules(
  { ...REQUEST, ...FORWARDED, ...HOPS, proxy: RULE.drop },
  [...OWN, ['x-envoy-', RULE.drop]],
);

/** From a service on this VM, which may pass on what it was told about the client. */
export const EGRESS_RULES = new HeaderRules({ ...REQUEST, ...FORWARDED, ...HOPS }, OWN);

/** From an authenticated gateway, which has set the forwarding fields and counted the hop already. */
export const MESH_RULES = new HeaderRules(
  { ...REQUEST, 'x-gatemesh-instance': RULE.instance, 'x-gatemesh-hops': RULE.none },
  OWN,
);

/** A service may echo the id, a gateway names it in its errors: the client's own gateway says it, once. */
const RESPONSE = { ...HOP_BY_HOP, 'x-request-id': RULE.drop } as const;

/** From a service's instance: as little believed as a client. */
export const RESPONSE_RULES = new HeaderRules(RESPONSE, OWN);

/** From another gateway: its reason is read and passed on. */
export const MESH_RESPONSE_RULES = new HeaderRules(
  { ...RESPONSE, 'x-gatemesh-reason': RULE.reason },
  OWN,
);
