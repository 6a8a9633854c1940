import { z } from 'zod';
import {
  address,
  choice,
  COMMON,
  fields,
  flag,
  given,
  integer,
  listOf,
  meta,
  name,
  text,
  weight,
} from './fields.ts';
import type {
  InstanceDocument,
  NodeDocument,
  NodeIntentDocument,
  Rejection,
  StatusDocument,
} from './types.ts';

export const DEFAULT_WEIGHT = 100;

/** `config/nodes/<node>` */
export const nodeIntent = fields({
  maintenance: z.exactOptional(flag()),
  zone: z.exactOptional(name),
  services: z.exactOptional(listOf(name, 'a list of services')),
  ...COMMON,
}).transform(({ maintenance, zone, services }): Omit<NodeIntentDocument, 'name'> => ({
  maintenance: maintenance ?? false,
  ...given({ zone, services }),
}));

/*
 * The documents below are written by gateways, perhaps of a newer version than the reader's. Unknown fields are
 * passed over there: rejecting them would take every instance of an upgraded node out of the mesh.
 */

function written<S extends z.core.$ZodLooseShape>(shape: S) {
  return z.object(shape, { error: `an object with ${Object.keys(shape).join(', ')}` });
}

const TIME_WANTED = 'a time such as "2026-09-30T10:00:00Z"';
const time = z.iso.datetime({ offset: true, error: TIME_WANTED });
const revision = integer(0, Number.MAX_SAFE_INTEGER, 'a revision');
const version = text(100, 'a version');

/** `nodes/<node>` */
export const node = written({
  address,
  zone: name,
  version,
  gateway: z.exactOptional(name),
}).transform((input): Omit<NodeDocument, 'name'> => input);

/** `nodes/<node>/instances/<service>/<id>` */
export const instance = written({
  address,
  app: address,
  protocol: choice(['http', 'http2', 'grpc', 'tcp']),
  weight: z.exactOptional(weight),
  zone: name,
  meta: z.exactOptional(meta),
  state: choice(['starting', 'ready', 'draining', 'maintenance']),
  health: choice(['passing', 'failing', 'unknown']),
  since: time,
}).transform((input): Omit<InstanceDocument, 'node' | 'service' | 'id'> => ({
  ...input,
  weight: input.weight ?? DEFAULT_WEIGHT,
  meta: input.meta ?? {},
}));

const line = z.string({ error: 'a text' });
const rejection = written({
  key: line,
  revision,
  path: line,
  error: line,
  hint: z.exactOptional(line),
  using: z.nullable(revision),
}).transform((input): Rejection => input);

/** `status/<node>` */
export const status = written({
  revision,
  applied: revision,
  appliedAt: time,
  source: choice(['registry', 'disk', 'none']),
  version,
  rejected: listOf(rejection, 'a list of rejections'),
  certNotAfter: z.nullable(time),
}).transform((input): Omit<StatusDocument, 'node'> => input);
