import { messageOf } from '#kit/errors.ts';
import { formatAddress } from '#kit/address.ts';
import { CANARY_KEY, canary, EDGE, EDGE_ADDRESS, NODES, TRUST_DOMAIN, WEB_EGRESS } from './plan.ts';
import type { DemoRegistry } from './registry.ts';
import type { Screen } from './screen.ts';
import { get, parseAnswers, type SampleService } from './services.ts';
import { measure, steady, variant, type Measured } from './traffic.ts';

/** The command line that puts a document, as a person types it. */
export type PutCommand = (key: string, value: string) => string;

export interface TourParts {
  readonly registry: DemoRegistry;
  readonly screen: Screen;
  /** The instances of `orders`; the busier one dies. */
  readonly orders: readonly SampleService[];
  readonly putCommand: PutCommand;
}

const ORDERS = { address: WEB_EGRESS, host: 'orders.mesh' } as const;
const SAMPLE = 1_000;
/** A fair split strays this many standard deviations once in 16,000 samples. */
const DEVIATIONS = 4;
const DETECTED_WITHIN_MS = 10_000;
const RATE = 100;

type Check = (ok: boolean, text: string) => void;

/** Walks through what the mesh does, checking each step; true when everything was as it should be. */
export async function runTour(parts: TourParts): Promise<boolean> {
  const { screen } = parts;
  let allWell = true;
  const check: Check = (ok, text) => {
    allWell &&= ok;
    screen.result(ok, text);
  };
  const steps: readonly [string, (parts: TourParts, check: Check) => Promise<void>][] = [
    ['1. Requests flow, and every service sees who calls it', showIdentities],
    ['2. A weight changes', changeWeights],
    ['3. An instance dies', loseAnInstance],
    ['4. Somebody puts a bad document', putABadDocument],
  ];
  for (const [title, step] of steps) {
    screen.step(title);
    try {
      await step(parts, check);
    } catch (error) {
      check(false, messageOf(error));
    }
  }
  return allWell;
}

async function showIdentities({ screen }: TourParts, check: Check): Promise<void> {
  const edge = formatAddress(EDGE_ADDRESS);
  screen.line(`    $ curl http://${edge}/`);
  const { status, body } = await get({ address: EDGE_ADDRESS, host: edge });
  for (const line of body.trimEnd().split('\n')) screen.line(`      ${line}`);
  check(status === 200, `the edge gateway answered ${status}`);

  const callers = new Map(parseAnswers(body).map(({ service, caller }) => [service, caller]));
  const web = `spiffe://${TRUST_DOMAIN}/svc/web`;
  const wanted = { web: `spiffe://${TRUST_DOMAIN}/edge/${EDGE}`, orders: web, payments: web };
  const wrong = Object.entries(wanted).filter(([service, id]) => callers.get(service) !== id);
  check(
    wrong.length === 0,
    wrong.length === 0
      ? 'each caller was proven by its certificate (mTLS between the gateways)'
      : wrong
          .map(([service, id]) => `${service} was called by ${callers.get(service)}, wanted ${id}`)
          .join('; '),
  );
}

async function changeWeights(parts: TourParts, check: Check): Promise<void> {
  const { registry, screen, putCommand } = parts;
  for (const [v1, v2] of [
    [90, 10],
    [50, 50],
    [0, 100],
  ] as const) {
    const document = canary(v1, v2);
    if (v1 === 90) screen.line(`    $ ${putCommand(CANARY_KEY, document)}`);
    const traffic = steady(ORDERS, RATE);
    const elapsed = await registry.inForce(await registry.put(CANARY_KEY, document));
    const measured = await measure(ORDERS, SAMPLE);
    await traffic.stop();
    const failed = [...traffic.take().failures, ...measured.failures];
    const seen = shares(measured);
    const shown = `orders v1 ${percent(seen.v1)}, v2 ${percent(seen.v2)} of ${measured.requests}`;
    check(
      fits(seen.v1, v1 / 100, measured.requests) && failed.length === 0,
      `${v1}/${v2}: ${shown}; in force on all three after ${ms(elapsed)}; ${failures(failed)}`,
    );
  }
}

async function loseAnInstance(parts: TourParts, check: Check): Promise<void> {
  const { registry, screen, orders } = parts;
  await registry.inForce(await registry.delete(CANARY_KEY));
  screen.line('    (first the canary route is deleted: either version of orders may answer)');
  const { answers } = await measure(ORDERS, SAMPLE);
  const share = (one: SampleService): number => answers.get(variant(one)) ?? 0;
  // The busier one, for the loss of an idle instance would show nothing.
  const victim = orders.toSorted((a, b) => share(b) - share(a))[0]!;
  const name = variant(victim);

  const traffic = steady(ORDERS, RATE);
  try {
    await victim.stop();
    const detected = await until('its gateway reports it as failing', async () => {
      const instances = await registry.instances('orders');
      return instances.find(({ node }) => node === victim.node)?.health === 'failing';
    });
    const before = traffic.take();
    screen.line(
      `    ${name} on ${victim.node} is gone; reported as failing after ${ms(detected)}; until then ${failures(before.failures)} of ${before.requests}`,
    );
    await pause(2_000);
    const after = traffic.take();
    check(
      after.failures.length === 0 && after.requests > 0 && !after.answers.has(name),
      `since then ${failures(after.failures)} of ${after.requests}; the other one answers all of them`,
    );

    await victim.start();
    const back = await until('it takes requests again', () => traffic.take().answers.has(name));
    check(
      true,
      `started again: it takes requests ${ms(back)} later, without a restart of anything`,
    );
  } finally {
    // A failed step must not leave the instance dead for the next one.
    await victim.start();
    await traffic.stop();
  }
}

async function putABadDocument(parts: TourParts, check: Check): Promise<void> {
  const { registry, screen } = parts;
  await registry.inForce(await registry.put(CANARY_KEY, canary(50, 50)));

  const bad = canary(0, 100, 'weigth');
  screen.line(`    ${CANARY_KEY} = ${bad}`);
  screen.line(
    '    (straight into the registry, as etcdctl does; "gatemesh apply" would have refused it)',
  );
  const traffic = steady(ORDERS, RATE);
  await registry.put(CANARY_KEY, bad);
  await until('all three gateways reject it', async () => {
    const all = await registry.rejections(CANARY_KEY);
    return [...all.values()].every((rejection) => rejection !== undefined);
  });
  const rejection = (await registry.rejections(CANARY_KEY)).get(NODES[0]!.name)!;
  screen.line(`    status/${NODES[0]!.name}, and the other two alike:`);
  screen.table([
    ['    key', rejection.key],
    ['    path', rejection.path],
    ['    error', rejection.error.split('\n')[0]!],
    ['    hint', rejection.hint ?? 'none'],
    ['    using', `revision ${rejection.using}`],
  ]);
  check(
    rejection.path.includes('$.to[0]') && rejection.hint === 'weight',
    'all three say where the mistake is and what was probably meant',
  );
  const measured = await measure(ORDERS, SAMPLE);
  await traffic.stop();
  const failed = [...traffic.take().failures, ...measured.failures];
  const seen = shares(measured);
  check(
    fits(seen.v1, 0.5, measured.requests) && failed.length === 0,
    `traffic goes on as before: v1 ${percent(seen.v1)}, v2 ${percent(seen.v2)}; ${failures(failed)}`,
  );

  await registry.put(CANARY_KEY, canary(80, 20));
  const cleared = await until('the rejection is gone', async () => {
    const all = await registry.rejections(CANARY_KEY);
    return [...all.values()].every((one) => one === undefined);
  });
  const now = shares(await measure(ORDERS, SAMPLE));
  check(
    fits(now.v1, 0.8, SAMPLE),
    `corrected to 80/20: cleared after ${ms(cleared)}, v1 ${percent(now.v1)}, v2 ${percent(now.v2)}`,
  );
}

function shares({ answers }: Measured): { readonly v1: number; readonly v2: number } {
  const v1 = answers.get('orders v1') ?? 0;
  const v2 = answers.get('orders v2') ?? 0;
  const total = Math.max(1, v1 + v2);
  return { v1: v1 / total, v2: v2 / total };
}

/** A share of 0 or 1 has no deviation at all: the side with weight 0 gets nothing. */
function fits(seen: number, wanted: number, requests: number): boolean {
  return Math.abs(seen - wanted) <= DEVIATIONS * Math.sqrt((wanted * (1 - wanted)) / requests);
}

/** Milliseconds until `claim` holds; fails with the claim's name. */
async function until(name: string, claim: () => boolean | Promise<boolean>): Promise<number> {
  const began = performance.now();
  for (;;) {
    if (await claim()) return performance.now() - began;
    if (performance.now() - began > DETECTED_WITHIN_MS) {
      throw new Error(`waited ${DETECTED_WITHIN_MS / 1_000} s in vain: ${name}`);
    }
    await pause(50);
  }
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs));
}

function failures(failed: readonly string[]): string {
  return failed.length === 0 ? 'no request failed' : `${failed.length} failed (${failed[0]})`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function ms(value: number): string {
  return value < 1_000 ? `${Math.round(value)} ms` : `${(value / 1_000).toFixed(1)} s`;
}
