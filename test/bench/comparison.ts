import { messageOf } from '#kit/errors.ts';
import type { GatemeshSubjects } from './gatemesh.ts';
import { measure, type Sample } from './load.ts';
import type { Measure, Peers } from './measures.ts';
import { rowOf, type Figures, type Row } from './report.ts';
import type { Subject } from './subject.ts';

/** One measure with everything that is measured under it. */
export class Comparison {
  readonly #measure: Measure;
  readonly #ours: readonly Subject[];
  readonly #peers: ReturnType<Measure['peers']>;
  readonly #samples = new Map<Subject, Sample[]>();
  readonly #errors = new Map<Subject, string>();

  constructor(one: Measure, peers: Peers, gatemesh: GatemeshSubjects | undefined) {
    this.#measure = one;
    this.#ours = gatemesh === undefined ? [] : one.ours(gatemesh);
    this.#peers = one.peers(peers);
  }

  get #subjects(): readonly Subject[] {
    return [...this.#ours, ...this.#peers.map(({ subject }) => subject)];
  }

  /** Each subject once, beginning with another one every round: who comes first finds the machine coolest. */
  async run(round: number, core: number, seconds: number): Promise<void> {
    const subjects = this.#subjects;
    for (let at = 0; at < subjects.length; at++) {
      const subject = subjects[(at + round) % subjects.length]!;
      if (this.#errors.has(subject)) continue;
      try {
        const sample = await measure(subject, this.#measure.load, core, seconds);
        const samples = this.#samples.get(subject) ?? [];
        samples.push(sample);
        this.#samples.set(subject, samples);
      } catch (error) {
        // One that fails is not measured further; the others are.
        this.#errors.set(subject, messageOf(error));
      }
    }
  }

  figures(): readonly Figures[] {
    return this.#subjects.map((subject) => this.#figuresOf(subject));
  }

  rows(): readonly Row[] {
    const ours = this.#ours.length === 0 ? [undefined] : this.#ours;
    return ours.flatMap((subject) =>
      this.#peers.map((peer) =>
        rowOf(
          this.#measure,
          subject === undefined ? undefined : this.#figuresOf(subject),
          this.#figuresOf(peer.subject),
          peer.target,
        ),
      ),
    );
  }

  #figuresOf(subject: Subject): Figures {
    const error = this.#errors.get(subject);
    const samples = error === undefined ? (this.#samples.get(subject) ?? []) : [];
    return { measure: this.#measure, subject, samples, error };
  }
}
