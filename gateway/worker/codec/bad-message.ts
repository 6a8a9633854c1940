/**
 * A message that is not HTTP/1.1 beyond doubt. Nothing of it is forwarded: the peer gets `status` and
 * the connection is closed, since where the next message starts is no longer certain.
 */
export class BadMessage extends Error {
  readonly status: number;

  constructor(status: number, why: string) {
    super(why);
    this.name = 'BadMessage';
    this.status = status;
  }
}
