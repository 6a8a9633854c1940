import type {
  IntentionDocument,
  IntentionRule,
  MeshDocument,
} from '../../../registry/documents/types.ts';
import { formatIdentity } from '../../../ca/identity.ts';
import { compilePath, pathMatches, type PathRule } from './path-rule.ts';
import type { RequestView } from './request-view.ts';

export interface AuthorisationDecision {
  readonly allowed: boolean;
  /** It is let through only because the intention is in audit mode. */
  readonly audited: boolean;
  /** Name of the intention that decided; undefined when none covers the destination. */
  readonly intention: string | undefined;
  readonly why: string;
}

interface Rule {
  /** SPIFFE id; undefined: anyone. */
  readonly identity: string | undefined;
  /** Asks for neither method nor path. */
  readonly isForAll: boolean;
  readonly methods: readonly string[];
  readonly path: PathRule | undefined;
  readonly decision: AuthorisationDecision;
}

/** Who may call one destination, or open a TCP connection to it. All decisions are made in advance: deciding allocates nothing. */
export class Authoriser {
  /** Deny rules first. */
  readonly #rules: readonly Rule[];
  readonly #otherwise: AuthorisationDecision;

  /** @param intention the destination's own document, or the one for `*`; undefined when there is neither */
  constructor(
    destination: string,
    intention: IntentionDocument | undefined,
    mesh: MeshDocument | undefined,
    trustDomain: string,
  ) {
    if (intention === undefined) {
      const action = mesh?.defaultIntention ?? 'allow';
      const why = `no intention covers ${destination}, and the mesh's default is ${action}`;
      this.#rules = [];
      this.#otherwise = { allowed: action === 'allow', audited: false, intention: undefined, why };
      return;
    }
    this.#rules = [
      ...intention.deny.map((rule) => compileRule(rule, 'deny', intention, trustDomain)),
      ...intention.allow.map((rule) => compileRule(rule, 'allow', intention, trustDomain)),
    ];
    this.#otherwise = decision(intention, intention.default, 'has no rule for it, and its default');
  }

  decide(sourceIdentity: string, request: RequestView): AuthorisationDecision {
    for (let i = 0; i < this.#rules.length; i++) {
      const rule = this.#rules[i]!;
      if (
        (rule.identity === undefined || rule.identity === sourceIdentity) &&
        (rule.isForAll || (request.isTcp !== true && matchesHttp(rule, request)))
      ) {
        return rule.decision;
      }
    }
    return this.#otherwise;
  }
}

function matchesHttp(rule: Rule, request: RequestView): boolean {
  return (
    (rule.methods.length === 0 || rule.methods.includes(request.method)) &&
    (rule.path === undefined || pathMatches(rule.path, request.path))
  );
}

function compileRule(
  rule: IntentionRule,
  action: 'allow' | 'deny',
  intention: IntentionDocument,
  trustDomain: string,
): Rule {
  return {
    identity: identityOf(rule.from, trustDomain),
    isForAll: rule.methods.length === 0 && rule.path === undefined,
    methods: rule.methods,
    path: rule.path === undefined ? undefined : compilePath(rule.path),
    decision: decision(intention, action, `has a rule for ${rule.from}, which`),
  };
}

function identityOf(from: string, trustDomain: string): string | undefined {
  if (from === '*') return undefined;
  if (from.startsWith('spiffe://')) return from;
  return formatIdentity({ trustDomain, kind: 'svc', name: from });
}

function decision(
  intention: IntentionDocument,
  action: 'allow' | 'deny',
  because: string,
): AuthorisationDecision {
  const audited = action === 'deny' && intention.mode === 'audit';
  const says = action === 'allow' ? 'allows it' : audited ? 'would deny it (audit)' : 'denies it';
  return {
    allowed: action === 'allow' || audited,
    audited,
    intention: intention.name,
    why: `config/intentions/${intention.name} ${because} ${says}`,
  };
}
