import { inspect } from 'node:util';
import type { TestEvent } from 'node:test/reporters';

/** One JSON line per result, for test/support/runner.ts. */
export type Result =
  | { readonly kind: 'passed' | 'skipped'; readonly name: string; readonly reason: string }
  | { readonly kind: 'failed'; readonly name: string; readonly error: string }
  | { readonly kind: 'note'; readonly text: string };

/**
 * Counts tests, not suites; a suite counts when it is skipped as a whole, or when it fails by itself
 * (a hook), since then no test inside says so.
 */
async function* reporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const suites: string[] = [];
  for await (const event of source) {
    if (event.type === 'test:start') {
      suites.length = event.data.nesting;
      suites.push(event.data.name);
      continue;
    }
    const result = resultOf(event, suites);
    if (result !== undefined) yield `${JSON.stringify(result)}\n`;
  }
}

function resultOf(event: TestEvent, suites: readonly string[]): Result | undefined {
  if (event.type === 'test:diagnostic') {
    // The runner's own closing figures come as diagnostics too, on the file's first character.
    const closing = event.data.nesting === 0 && event.data.line === 1 && event.data.column === 1;
    return closing ? undefined : { kind: 'note', text: event.data.message };
  }
  if (event.type !== 'test:pass' && event.type !== 'test:fail') return undefined;
  const { name, nesting, details, skip, todo } = event.data;
  const path = [...suites.slice(0, nesting), name].join(' > ');
  if (skip !== undefined || todo !== undefined) {
    const reason = typeof skip === 'string' ? skip : typeof todo === 'string' ? todo : '';
    return { kind: 'skipped', name: path, reason };
  }
  if (event.type === 'test:fail') {
    const error = event.data.details.error as Error & { readonly failureType?: string };
    if (details.type === 'suite' && error.failureType === 'subtestsFailed') return undefined;
    return { kind: 'failed', name: path, error: explain(error) };
  }
  return details.type === 'suite' ? undefined : { kind: 'passed', name: path, reason: '' };
}

function explain(error: Error): string {
  const cause = error.cause ?? error;
  if (!(cause instanceof Error)) return inspect(cause);
  const frames = (cause.stack ?? '').split('\n').filter((line) => /^\s+at .*\.ts:/.test(line));
  return [cause.message.trimEnd(), ...frames.slice(0, 6)].join('\n');
}

export { reporter as default };
