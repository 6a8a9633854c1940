import { Agent } from '#kit/http.ts';
import { formatAddress, type Address } from '#kit/address.ts';
import { get, parseAnswers, type Got, type SampleService } from './services.ts';

/** What a number of requests came to. */
export interface Measured {
  readonly requests: number;
  /** By `<service> v<version>`. */
  readonly answers: ReadonlyMap<string, number>;
  /** One line per request that was not answered with 200. */
  readonly failures: readonly string[];
}

/** `orders v2` */
export function variant({ name, version }: Pick<SampleService, 'name' | 'version'>): string {
  return `${name} v${version}`;
}

class Tally implements Measured {
  requests = 0;
  readonly answers = new Map<string, number>();
  readonly failures: string[] = [];

  note(got: Got): void {
    this.requests += 1;
    if (got.status !== 200) {
      this.failures.push(got.status === 0 ? got.body : `${got.status} ${got.body.trim()}`);
      return;
    }
    for (const answer of parseAnswers(got.body)) {
      const name = variant({ name: answer.service, version: answer.version });
      this.answers.set(name, (this.answers.get(name) ?? 0) + 1);
    }
  }
}

/** Sends `count` requests, 16 at a time, and says who answered. */
export async function measure(
  target: { readonly address: Address; readonly host: string },
  count: number,
): Promise<Measured> {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const tally = new Tally();
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) tally.note(await get({ ...target, agent }));
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  agent.destroy();
  return tally;
}

/** Requests at a steady rate until stopped. */
export interface Steady {
  /** What was begun since the last call has come to; starts a new count. */
  take(): Measured;
  /** Ends it and waits for the requests in flight. */
  stop(): Promise<void>;
}

export function steady(
  target: { readonly address: Address; readonly host: string },
  perSecond: number,
): Steady {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const inFlight = new Set<Promise<void>>();
  let tally = new Tally();
  const timer = setInterval(() => {
    // A request counts where it was begun, so that a count starts clean.
    const own = tally;
    const request = get({ ...target, agent }).then((got) => own.note(got));
    inFlight.add(request);
    void request.finally(() => inFlight.delete(request));
  }, 1_000 / perSecond);
  return {
    take() {
      const taken = tally;
      tally = new Tally();
      return taken;
    },
    async stop() {
      clearInterval(timer);
      await Promise.all(inFlight);
      agent.destroy();
    },
  };
}

/** A version that has not answered for this long is gone; shorter, and a canary of 5 % would come and go. */
const SEEN_WITHIN_S = 12;
/** Requests fail until there was none for this long. */
const FAILING_WITHIN_S = 2;

/**
 * A few requests a second through the edge for as long as the demo runs. `tell` gets one short line when something
 * changed: a version appears or is gone, or requests begin or cease to fail.
 */
export function background(
  address: Address,
  tell: (line: string) => void,
): { stop(): Promise<void> } {
  const traffic = steady({ address, host: formatAddress(address) }, 5);
  let seconds: Measured[] = [];
  let before: string | undefined;
  const timer = setInterval(() => {
    seconds = [traffic.take(), ...seconds.slice(0, SEEN_WITHIN_S - 1)];
    const recent = merge(seconds);
    const failures = merge(seconds.slice(0, FAILING_WITHIN_S)).failures;
    const names = [...recent.answers.keys()].toSorted();
    const state = `${names.join()} ${failures.length > 0}`;
    if (state === before) return;
    const first = before === undefined;
    before = state;
    if (first) return;
    const parts = names.map((name) => `${name} ${recent.answers.get(name)}`);
    const failed =
      recent.failures.length === 0 ? 'none failed' : `${recent.failures.length} failed`;
    tell(
      `of the last ${recent.requests} requests ${failed}; answers: ${parts.join(', ') || 'none'}`,
    );
    if (failures[0] !== undefined) tell(`a failure: ${failures[0]}`);
  }, 1_000);
  return {
    stop() {
      clearInterval(timer);
      return traffic.stop();
    },
  };
}

function merge(parts: readonly Measured[]): Measured {
  const answers = new Map<string, number>();
  for (const part of parts) {
    for (const [name, count] of part.answers) answers.set(name, (answers.get(name) ?? 0) + count);
  }
  return {
    requests: parts.reduce((sum, part) => sum + part.requests, 0),
    answers,
    failures: parts.flatMap((part) => part.failures),
  };
}
