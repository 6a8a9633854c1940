/** How well counts fit expected shares; `p` is the chance of a fit this bad or worse when the shares are right. */
export interface Fit {
  readonly chiSquare: number;
  readonly degrees: number;
  readonly p: number;
}

/**
 * Pearson's χ² test of `counts` against `weights` (any sum). A weight of 0 with a count of 0 is left out; with any
 * count at all the fit is impossible (p = 0).
 */
export function fitShares(counts: readonly number[], weights: readonly number[]): Fit {
  if (counts.length !== weights.length) throw new Error('as many counts as weights are needed');
  const total = counts.reduce((sum, count) => sum + count, 0);
  const weightSum = weights.reduce((sum, weight) => sum + weight, 0);
  let chiSquare = 0;
  let cells = 0;
  for (const [i, weight] of weights.entries()) {
    const count = counts[i]!;
    if (weight === 0) {
      if (count > 0) return { chiSquare: Infinity, degrees: cells, p: 0 };
      continue;
    }
    const expected = (total * weight) / weightSum;
    chiSquare += (count - expected) ** 2 / expected;
    cells += 1;
  }
  const degrees = Math.max(0, cells - 1);
  return { chiSquare, degrees, p: chiSquareSurvival(chiSquare, degrees) };
}

/** P(X >= x) for a χ² variable with `degrees` degrees of freedom: the regularised upper gamma function Q(k/2, x/2). */
export function chiSquareSurvival(x: number, degrees: number): number {
  if (degrees === 0) return x > 0 ? 0 : 1;
  if (x <= 0) return 1;
  return upperGammaRatio(degrees / 2, x / 2);
}

/** Q(a, x): by the series of its complement below a + 1, by Lentz's continued fraction above (Numerical Recipes 6.2). */
function upperGammaRatio(a: number, x: number): number {
  const scale = Math.exp(a * Math.log(x) - x - logGamma(a));
  if (x < a + 1) {
    let term = 1 / a;
    let sum = term;
    for (let n = 1; n < 1_000 && term > sum * 1e-15; n++) {
      term *= x / (a + n);
      sum += term;
    }
    return 1 - scale * sum;
  }
  const tiny = 1e-300;
  let b = x + 1 - a;
  let c = 1 / tiny;
  let d = 1 / b;
  let fraction = d;
  for (let n = 1; n < 1_000; n++) {
    const numerator = n * (a - n);
    b += 2;
    d = 1 / nonZero(numerator * d + b, tiny);
    c = nonZero(b + numerator / c, tiny);
    const step = c * d;
    fraction *= step;
    if (Math.abs(step - 1) < 1e-15) break;
  }
  return scale * fraction;
}

function nonZero(value: number, tiny: number): number {
  return Math.abs(value) < tiny ? tiny : value;
}

// Lanczos, g = 7, n = 9; about 15 digits for a > 0.
const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
  -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6,
  1.5056327351493116e-7,
] as const;

function logGamma(a: number): number {
  if (a < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * a)) - logGamma(1 - a);
  const base = a - 1;
  const t = base + 7.5;
  let sum: number = LANCZOS[0];
  for (const [i, coefficient] of LANCZOS.slice(1).entries()) sum += coefficient / (base + i + 1);
  return 0.5 * Math.log(2 * Math.PI) + (base + 0.5) * Math.log(t) - t + Math.log(sum);
}

/** The value below which `ratio` (0..1) of the values lie; NaN for none. Nearest rank. */
export function quantile(values: readonly number[], ratio: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(ratio * sorted.length) - 1)] ?? NaN;
}
