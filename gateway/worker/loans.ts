/** One TLS record is 16 KiB at most, and a socket's send buffer rarely takes more than this at once. */
export const LOAN_BYTES = 65_536;
/** Kept for the next write; what is above this was a burst, and goes to the garbage collector. */
const MAX_SPARE = 64;

/**
 * A buffer lent for one write. `socket.write` refers to its bytes until its callback, which is what
 * `giveBack` is for: `socket.write(loan.bytes.subarray(0, used), loan.giveBack)`.
 *
 * Not a new Buffer each time: V8 counts their bytes as external memory and answers with a full
 * collection every few MiB; that was a third of the CPU of a pair of gateways (test/bench/micro-codec.ts).
 */
export interface Loan {
  readonly bytes: Buffer;
  /** Call it once, when nothing refers to the bytes any more. */
  readonly giveBack: () => void;
}

const spare: Loan[] = [];

export function borrow(): Loan {
  return spare.pop() ?? newLoan();
}

function newLoan(): Loan {
  const loan: Loan = {
    bytes: Buffer.allocUnsafeSlow(LOAN_BYTES),
    giveBack: () => {
      if (spare.length < MAX_SPARE) spare.push(loan);
    },
  };
  return loan;
}
