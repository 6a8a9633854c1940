import { z } from 'zod';
import { caller, choice, COMMON, fields, given, listOf, method, pathMatch } from './fields.ts';
import type { IntentionDocument, IntentionRule } from './types.ts';

const RULE_WANTED = 'a caller ("web", "*", "spiffe://…") or an object with from, methods and path';

const rule = z.union(
  [
    caller.transform((from): IntentionRule => ({ from, methods: [] })),
    fields(
      {
        from: caller,
        methods: z.exactOptional(listOf(method, 'a list of methods')),
        path: z.exactOptional(pathMatch),
      },
      ['jwt', 'claims', 'headers'],
    ).transform(({ from, methods, path }): IntentionRule => ({
      from,
      methods: methods ?? [],
      ...given({ path }),
    })),
  ],
  { error: RULE_WANTED },
);

const rules = listOf(rule, 'a list of callers');

/** `config/intentions/<destination>` */
export const intention = fields({
  mode: z.exactOptional(choice(['enforce', 'audit'])),
  allow: z.exactOptional(rules),
  deny: z.exactOptional(rules),
  default: z.exactOptional(choice(['allow', 'deny'])),
  ...COMMON,
}).transform((input): Omit<IntentionDocument, 'name'> => ({
  mode: input.mode ?? 'enforce',
  allow: input.allow ?? [],
  deny: input.deny ?? [],
  default: input.default ?? (input.allow === undefined ? 'allow' : 'deny'),
}));
