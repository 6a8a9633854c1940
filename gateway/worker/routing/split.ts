import type { Rng } from '#kit/rng.ts';
import type { CompiledDestination, Split } from './compiled-route.ts';

/** One destination by weight: shares are exact in the mean, and a weight of 0 never gets a request. */
export function pickDestination(split: Split, rng: Rng): CompiledDestination {
  const { destinations } = split;
  if (destinations.length === 1) return destinations[0]!;
  let point = rng() * split.totalWeight;
  let i = 0;
  // Weights are integers and the draw is below 1, so the walk ends before the list does.
  while (point >= destinations[i]!.weight) point -= destinations[i++]!.weight;
  return destinations[i]!;
}
