import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Held, OpenMore } from './idle-connections-main.ts';

const PROGRAM = join(import.meta.dirname, 'idle-connections-main.ts');

/** A process that holds keep-alive connections open, each after one request. */
export class IdleConnections {
  readonly #child: ChildProcess;
  #closed = 0;

  /** @param core where it runs */
  constructor(core: number) {
    const execArgv = ['-c', String(core), process.execPath];
    this.#child = fork(PROGRAM, { execPath: 'taskset', execArgv });
    this.#child.on('message', ({ closed }: Held) => (this.#closed = closed));
  }

  /** @throws when one of them could not be opened or had no answer */
  async open(more: OpenMore): Promise<void> {
    const failed = once(this.#child, 'exit').then(() => {
      throw new Error(`connections to port ${more.port} could not be opened; see above`);
    });
    const opened = once(this.#child, 'message');
    this.#child.send(more);
    await Promise.race([opened, failed]);
    this.check();
  }

  /** @throws when the other side closed any */
  check(): void {
    if (this.#closed > 0) throw new Error(`${this.#closed} connections were closed`);
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}
