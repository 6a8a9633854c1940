/** Something that can be in one roster at a time, and knows where. */
export interface Member {
  rosterIndex: number;
}

/** An unordered set with O(1) add and remove and no allocation: the index lies in the member. */
export class Roster<T extends Member> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  add(member: T): void {
    member.rosterIndex = this.#members.length;
    this.#members.push(member);
  }

  /** Removing a member that is not in is harmless. */
  remove(member: T): void {
    const index = member.rosterIndex;
    if (index < 0) return;
    member.rosterIndex = -1;
    const last = this.#members.pop()!;
    if (last === member) return;
    this.#members[index] = last;
    last.rosterIndex = index;
  }

  /** Calls `visit` for each member; members may leave meanwhile. */
  sweep(visit: (member: T) => void): void {
    for (let i = this.#members.length - 1; i >= 0; i--) {
      const member = this.#members[i];
      if (member !== undefined) visit(member);
    }
  }
}
