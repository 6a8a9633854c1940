import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { quantile } from './statistics.ts';

export interface LoadOptions {
  /** The listener that is asked: an egress or edge address. */
  readonly target: { readonly host: string; readonly port: number };
  /** The Host header: which service is meant. */
  readonly host: string;
  readonly path?: string;
  /** Requests are begun at this rate whatever the answers do, so a stall shows as latency and not as fewer requests. */
  readonly perSecond: number;
  /** Keep-alive connections; default 16. */
  readonly connections?: number;
}

/** What became of the requests that were begun in one phase. */
export interface PhaseReport {
  /** Finished ones. */
  readonly requests: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** By the first line of the body, which is how the origins of the tests name themselves. Only 2xx answers. */
  readonly answers: Readonly<Record<string, Answers>>;
  /** Everything that is not a 2xx, in order of beginning. */
  readonly failures: readonly Failure[];
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export interface Answers {
  readonly count: number;
  /** When the first and the last of them were begun: Unix ms. */
  readonly firstAt: number;
  readonly lastAt: number;
}

export interface Failure {
  /** When it was begun: Unix ms. */
  readonly at: number;
  /** `503 {"error":…`, or the error of the connection. */
  readonly what: string;
}

/** A constant-rate load in a process of its own: what it measures is not disturbed by what the test does meanwhile. */
export interface Load {
  /** Requests begun from now on belong to `name`. The first phase is called `start`. */
  phase(name: string): Promise<void>;
  /** What is known of a phase by now; requests still in flight are not in it. */
  report(name: string): Promise<PhaseReport>;
  /** Waits for what is in flight, ends the process, and gives every phase. */
  stop(): Promise<ReadonlyMap<string, PhaseReport>>;
  /** Ends the process without any report; for `after` hooks. */
  kill(): Promise<void>;
}

type Ask =
  | { readonly type: 'phase'; readonly name: string }
  | { readonly type: 'report'; readonly name: string }
  | { readonly type: 'stop' };

type Told = readonly (readonly [name: string, report: PhaseReport])[];

export async function startLoad(options: LoadOptions): Promise<Load> {
  const child = fork(import.meta.filename, [JSON.stringify(options)], {
    serialization: 'advanced',
  });
  const exited = once(child, 'exit');
  let tail: Promise<unknown> = once(child, 'message');
  await tail;

  /** One question at a time, so that the next message is its answer. */
  function ask(question: Ask): Promise<Told> {
    const answer = tail.then(async () => {
      const told = once(child, 'message');
      child.send(question);
      const ended = exited.then(() => {
        throw new Error('the load process ended without an answer');
      });
      const [message] = (await Promise.race([told, ended])) as [Told];
      return message;
    });
    tail = answer.catch(() => undefined);
    return answer;
  }

  return {
    async phase(name) {
      await ask({ type: 'phase', name });
    },
    async report(name) {
      return (await ask({ type: 'report', name }))[0]![1];
    },
    async stop() {
      const reports = await ask({ type: 'stop' });
      await exited;
      return new Map(reports);
    },
    async kill() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await exited;
    },
  };
}

class Phase {
  readonly #statuses: Record<string, number> = {};
  readonly #answers: Record<string, Answers> = {};
  readonly #failures: Failure[] = [];
  readonly #durations: number[] = [];

  note(at: number, durationMs: number, status: number, body: string): void {
    this.#durations.push(durationMs);
    this.#statuses[status] = (this.#statuses[status] ?? 0) + 1;
    if (status < 200 || status > 299) {
      const what = status === 0 ? body : `${status} ${body.slice(0, 200)}`;
      this.#failures.push({ at, what });
      return;
    }
    const name = body.split('\n', 1)[0]!;
    const before = this.#answers[name] ?? { count: 0, firstAt: at, lastAt: at };
    this.#answers[name] = {
      count: before.count + 1,
      firstAt: Math.min(before.firstAt, at),
      lastAt: Math.max(before.lastAt, at),
    };
  }

  report(): PhaseReport {
    return {
      requests: this.#durations.length,
      statuses: this.#statuses,
      answers: this.#answers,
      failures: this.#failures.toSorted((a, b) => a.at - b.at),
      p50Ms: quantile(this.#durations, 0.5),
      p99Ms: quantile(this.#durations, 0.99),
      maxMs: quantile(this.#durations, 1),
    };
  }
}

function generate({ target, host, path = '/', perSecond, connections = 16 }: LoadOptions): void {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const phases = new Map<string, Phase>();
  const inPhase = (name: string): Phase => phases.getOrInsertComputed(name, () => new Phase());
  let current = inPhase('start');
  let inFlight = 0;

  function begin(): void {
    const phase = current;
    const at = Date.now();
    const began = performance.now();
    let over = false;
    inFlight += 1;
    const finish = (status: number, body: string): void => {
      if (over) return;
      over = true;
      inFlight -= 1;
      phase.note(at, performance.now() - began, status, body);
    };
    const outgoing = request(
      { host: target.host, port: target.port, path, headers: { host }, agent, timeout: 10_000 },
      (response) => {
        let body = '';
        response.setEncoding('latin1');
        response.on('data', (chunk: string) => (body += chunk));
        response.on('end', () => finish(response.statusCode!, body));
        response.on('error', (error) => finish(0, `while reading: ${error.message}`));
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 10 s')));
    outgoing.on('error', (error) => finish(0, error.message));
    outgoing.end();
  }

  const started = performance.now();
  let begun = 0;
  const ticker = setInterval(() => {
    const due = ((performance.now() - started) * perSecond) / 1_000;
    for (; begun < due; begun++) begin();
  }, 2);

  process.on('message', (ask: Ask) => {
    switch (ask.type) {
      case 'phase':
        current = inPhase(ask.name);
        process.send!([]);
        return;
      case 'report':
        process.send!([[ask.name, inPhase(ask.name).report()]] satisfies Told);
        return;
      case 'stop':
        clearInterval(ticker);
        void untilIdle().then(() => {
          const told = [...phases].map(([name, phase]) => [name, phase.report()] as const);
          process.send!(told satisfies Told, () => process.exit(0));
        });
    }
  });
  // The test process died: nobody is left to report to.
  process.on('disconnect', () => process.exit(1));
  process.send!([]);

  async function untilIdle(): Promise<void> {
    while (inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

if (import.meta.main) generate(JSON.parse(process.argv[2]!) as LoadOptions);
