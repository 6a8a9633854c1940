/** A draw from [0, 1). Rules take one as an argument, so that tests can deal the draws. */
export type Rng = () => number;

export const systemRng: Rng = Math.random;

/** A small repeatable generator (xorshift32, Marsaglia 2003) for tests, simulations and the data path's picks. */
export function seededRng(seed: number): Rng {
  let state = seed | 0 || 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 4_294_967_296;
  };
}
