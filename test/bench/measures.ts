import { residentMb } from './bed.ts';
import { startFastify } from './fastify.ts';
import type { GatemeshSubjects } from './gatemesh.ts';
import { startHaproxy } from './haproxy.ts';
import type { Load, Sample } from './load.ts';
import { startNginx } from './nginx.ts';
import { BODIES, BODY_BYTES } from './origin.ts';
import type { Subject } from './subject.ts';

export interface Peers {
  readonly nginx: Awaited<ReturnType<typeof startNginx>>;
  readonly haproxy: Awaited<ReturnType<typeof startHaproxy>>;
  readonly fastify: Awaited<ReturnType<typeof startFastify>>;
}

export interface Unit {
  readonly name: string;
  /** The better value is the lower one, or the higher one. */
  readonly better: 'lower' | 'higher';
  value(sample: Sample): number;
}

/** A load under which ours and peers are measured in turn. */
export interface Measure {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  readonly load: Load;
  readonly unit: Unit;
  ours(gatemesh: GatemeshSubjects): readonly Subject[];
  /** With the ratio ours/peer that is wanted: at most where lower is better, else at least. */
  peers(peers: Peers): readonly { readonly subject: Subject; readonly target?: number }[];
}

const COST: Unit = {
  name: 'µs CPU/request',
  better: 'lower',
  value: ({ cpuSeconds, requests }) => (cpuSeconds * 1e6) / requests,
};

function throughput(bytes: number): Unit {
  return {
    name: 'GB/CPU-second',
    better: 'higher',
    value: ({ cpuSeconds, requests }) => (requests * bytes) / 1e9 / cpuSeconds,
  };
}

/** What a browser sends: with Host 14 lines, about 700 bytes. */
const BROWSER_HEADERS = [
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
  'Accept-Language: en-GB,en;q=0.9,de;q=0.8',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Cache-Control: no-cache',
  'Referer: https://shop.example.com/catalogue/garden/chairs?page=2',
  'Cookie: session=6f1c9f6f2e8b4d0f9f3f; theme=dark; consent=yes; basket=42',
  'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"',
  'sec-ch-ua-mobile: ?0',
  'sec-ch-ua-platform: "Linux"',
  'Sec-Fetch-Dest: document',
  'Sec-Fetch-Mode: navigate',
  'Upgrade-Insecure-Requests: 1',
];

const small = (connections: number, headers: readonly string[] = []): Load => ({
  connections,
  path: BODIES.small,
  headers,
});

export const MEASURES: readonly Measure[] = [
  {
    name: 'hop',
    title: 'one hop, 32 connections, small JSON',
    load: small(32),
    unit: COST,
    ours: ({ hop, edge }) => [hop, edge],
    peers: ({ nginx, haproxy, fastify }) => [
      { subject: nginx.hop, target: 1.5 },
      { subject: haproxy.hop },
      { subject: fastify, target: 0.25 },
    ],
  },
  {
    name: 'headers',
    title: 'one hop, 14 header lines, 700 bytes',
    load: small(32, BROWSER_HEADERS),
    unit: COST,
    ours: ({ hop }) => [hop],
    peers: ({ nginx, haproxy }) => [{ subject: nginx.hop, target: 1.6 }, { subject: haproxy.hop }],
  },
  {
    name: 'https',
    title: 'one hop, TLS 1.3 in, 32 connections',
    load: small(32),
    unit: COST,
    ours: ({ https }) => [https],
    peers: ({ nginx }) => [{ subject: nginx.https, target: 1.6 }],
  },
  {
    name: 'pair-32',
    title: 'two hops over mTLS, 32 connections',
    load: small(32),
    unit: COST,
    ours: ({ pair }) => [pair],
    peers: ({ nginx, haproxy }) => [
      { subject: nginx.pair, target: 0.7 },
      { subject: haproxy.pair, target: 1.05 },
    ],
  },
  {
    name: 'pair-128',
    title: 'two hops over mTLS, 128 connections',
    load: small(128),
    unit: COST,
    ours: ({ pair }) => [pair],
    peers: ({ nginx, haproxy }) => [
      { subject: nginx.pair, target: 0.7 },
      { subject: haproxy.pair, target: 1 },
    ],
  },
  ...(['64KiB', '10MiB'] as const).flatMap((size): readonly Measure[] => {
    const load: Load = { connections: size === '64KiB' ? 32 : 4, path: BODIES[size], headers: [] };
    const unit = throughput(BODY_BYTES[size]);
    return [
      {
        name: `body-${size}`,
        title: `one hop, bodies of ${size}`,
        load,
        unit,
        ours: ({ hop }) => [hop],
        peers: ({ nginx }) => [{ subject: nginx.hop, target: 0.6 }],
      },
      {
        name: `pair-body-${size}`,
        title: `two hops over mTLS, bodies of ${size}`,
        load,
        unit,
        ours: ({ pair }) => [pair],
        peers: ({ nginx }) => [{ subject: nginx.pair, target: 0.6 }],
      },
    ];
  }),
];

/** Supervisor and one worker that have nothing to do, in MB. */
export const REST = {
  name: 'rest',
  title: 'gateway at rest, supervisor + 1 worker',
  unit: 'MB resident',
  targetMb: 160,
  value: ({ hop }: GatemeshSubjects): number => residentMb(hop.pids),
} as const;
