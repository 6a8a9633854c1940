const HEAD_END = '\r\n\r\n';

/** Tells when the one answer that is under way on an HTTP/1.1 connection is complete. */
export class OneAnswer {
  #kept = '';
  /** Bytes of the whole answer, once its head is there. */
  #length = 0;

  /**
   * @returns whether the answer is complete; then the next one may begin
   * @throws when it is not 200, has no Content-Length, or more came than belongs to it
   */
  take(bytes: string): boolean {
    this.#kept += bytes;
    if (this.#length === 0) {
      const headEnd = this.#kept.indexOf(HEAD_END);
      if (headEnd < 0) return false;
      const head = this.#kept.slice(0, headEnd);
      const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
      if (!head.startsWith('HTTP/1.1 200 ') || length === undefined) {
        throw new Error(`wanted 200 with Content-Length; got ${head.slice(0, 200)}`);
      }
      this.#length = headEnd + HEAD_END.length + Number(length);
    }
    if (this.#kept.length < this.#length) return false;
    if (this.#kept.length > this.#length) throw new Error('more bytes than one answer');
    this.#kept = '';
    this.#length = 0;
    return true;
  }
}
