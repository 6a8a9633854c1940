import type { InstanceDocument, NodeIntentDocument } from '../../../registry/documents/types.ts';

/** Why, by the registry alone, an instance gets no requests; undefined when it may get some. */
export function hindranceOf(
  instance: InstanceDocument,
  intent: NodeIntentDocument | undefined,
): string | undefined {
  if (intent?.services !== undefined && !intent.services.includes(instance.service)) {
    return `config/nodes/${instance.node} does not allow ${instance.service} there`;
  }
  if (intent?.maintenance === true) return `node ${instance.node} is in maintenance`;
  if (instance.state !== 'ready') return instance.state;
  switch (instance.health) {
    case 'passing':
      return undefined;
    case 'failing':
      return 'failing its health check';
    case 'unknown':
      return 'not checked yet';
  }
}

/**
 * Whether the instance's own gateway passes requests on to it that arrive over the mesh: also while it drains, as callers
 * learn of that a moment later than its gateway.
 */
export function servesLocally({ state, health }: InstanceDocument): boolean {
  return (state === 'ready' || state === 'draining') && health === 'passing';
}
