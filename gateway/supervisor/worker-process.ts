import { fork, type ChildProcess } from 'node:child_process';
import { MeshError, messageOf } from '#kit/errors.ts';
import type { Cancel, Clock } from '#kit/clock.ts';
import type { FromWorker, ToWorker, WorkerQuestion, WorkerReply } from '../ipc.ts';
import type { SendableHandle } from './listen-sockets.ts';

/** A worker that does not answer a question within this is left out. */
const ANSWER_MS = 2_000;

export type WorkerEvent = Exclude<FromWorker, { readonly type: 'reply' }>;

interface PendingAnswer {
  readonly resolve: (reply: WorkerReply) => void;
  readonly reject: (error: MeshError) => void;
  readonly cancelTimer: Cancel;
}

/** One data-plane process: its channel, the questions it still owes answers to, and its signs of life. */
export class WorkerProcess {
  readonly startedAt: number;
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #pending = new Map<number, PendingAnswer>();
  #lastHeardAt: number;
  #nextQuestion = 1;
  #gone = false;

  /**
   * @param onEvent everything the worker says unasked
   * @param onExit called once, whether it exited, was killed or could not be started
   */
  constructor(
    workerFile: string,
    clock: Clock,
    onEvent: (event: WorkerEvent) => void,
    onExit: (how: string) => void,
  ) {
    this.#clock = clock;
    this.startedAt = clock.now();
    this.#lastHeardAt = this.startedAt;
    this.#child = fork(workerFile, [], {
      serialization: 'advanced',
      execArgv: ['--disable-sigusr1', '--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message) => {
      this.#lastHeardAt = clock.now();
      // Our own worker speaks ipc.ts; the process boundary hides the type.
      const event = message as FromWorker;
      if (event.type === 'reply') this.#settle(event.id, event.reply);
      else onEvent(event);
    });
    const ended = (how: string): void => {
      if (this.#gone) return;
      this.#gone = true;
      this.#forgetQuestions();
      onExit(how);
    };
    // `error` without `exit` is a fork that failed; an error of a running child is followed by its exit.
    this.#child.on('error', (error) => {
      if (this.#child.pid === undefined) ended(`could not be started: ${messageOf(error)}`);
    });
    this.#child.on('exit', (code, signal) =>
      ended(signal === null ? `exited with ${code}` : `was ended by ${signal}`),
    );
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Milliseconds since it last said anything; it says `alive` every second. */
  silentMs(): number {
    return this.#clock.now() - this.#lastHeardAt;
  }

  /** Never throws: a worker that is gone is noticed by its exit, not by each message to it. */
  send(message: ToWorker, handle?: SendableHandle): void {
    if (!this.#child.connected) return;
    try {
      this.#child.send(message, handle, {}, () => {});
    } catch {
      // The channel closed between the check and the write; `exit` follows.
    }
  }

  /** @throws MeshError `worker_silent` after 2 s, or at once when it exits or says that it cannot */
  async ask(question: WorkerQuestion): Promise<WorkerReply> {
    const id = this.#nextQuestion++;
    const reply = await new Promise<WorkerReply>((resolve, reject) => {
      const cancelTimer = this.#clock.after(ANSWER_MS, () => {
        this.#pending.delete(id);
        reject(new MeshError('worker_silent', `worker ${this.pid} did not answer in 2 s`));
      });
      this.#pending.set(id, { resolve, reject, cancelTimer });
      this.send({ type: 'ask', id, question });
    });
    if (reply.kind === 'error') throw new MeshError('worker_refused', reply.message);
    return reply;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #settle(id: number, reply: WorkerReply): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    pending.cancelTimer();
    pending.resolve(reply);
  }

  #forgetQuestions(): void {
    for (const { reject, cancelTimer } of this.#pending.values()) {
      cancelTimer();
      reject(new MeshError('worker_silent', `worker ${this.pid} ended before it answered`));
    }
    this.#pending.clear();
  }
}
