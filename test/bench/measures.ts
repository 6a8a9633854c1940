import { h2load, newConnections } from './loads/h2load.ts';
import { wrk } from './loads/wrk.ts';
import type { Measure } from './measure.ts';
import { addedLatencyMeasure } from './methods/added-latency.ts';
import { CONNECTIONS, cpuMeasure, throughput } from './methods/cpu.ts';
import { idleMemoryMeasure } from './methods/idle-memory.ts';
import { restMeasure } from './methods/rest.ts';
import type { Stand } from './stand.ts';
import { startFastify } from './subjects/fastify.ts';
import { prepareEdge, startGatemesh, startLogging } from './subjects/gatemesh.ts';
import { startHaproxyGrpcPair, startHaproxyHop, startHaproxyPair } from './subjects/haproxy.ts';
import { asking, startWith10000Routes, startWith10Routes } from './subjects/many-routes.ts';
import { nginxAlone, startNginxGrpcPair, startNginxHop, startNginxPair } from './subjects/nginx.ts';
import { BODIES, BODY_BYTES, GRPC_MESSAGE, GRPC_METHOD } from './subjects/origin.ts';

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

const hop = async (stand: Stand) => [(await stand.use(startGatemesh)).hop];
const edgeTls = async (stand: Stand) => [(await stand.use(startGatemesh)).https];
const pair = async (stand: Stand) => [(await stand.use(startGatemesh)).pair];

export const MEASURES: readonly Measure[] = [
  cpuMeasure({
    name: 'hop',
    title: 'one hop, 32 connections, small JSON',
    load: wrk({ connections: 32 }),
    ours: async (stand) => {
      const { hop, edge } = await stand.use(startGatemesh);
      return [hop, edge];
    },
    peers: async (stand) => [
      { subject: (await stand.use(startNginxHop)).hop, target: 1.5 },
      { subject: (await stand.use(startHaproxyHop)).hop },
      { subject: await stand.use(startFastify), target: 0.25 },
    ],
  }),
  cpuMeasure({
    name: 'headers',
    title: 'one hop, 14 header lines, 700 bytes',
    load: wrk({ connections: 32, headers: BROWSER_HEADERS }),
    ours: hop,
    peers: async (stand) => [
      { subject: (await stand.use(startNginxHop)).hop, target: 1.6 },
      { subject: (await stand.use(startHaproxyHop)).hop },
    ],
  }),
  cpuMeasure({
    name: 'https',
    title: 'one hop, TLS 1.3 in, 32 connections',
    load: wrk({ connections: 32 }),
    ours: edgeTls,
    peers: async (stand) => [{ subject: (await stand.use(startNginxHop)).https, target: 1.6 }],
  }),
  ...[
    { connections: 32, haproxy: 1.05 },
    { connections: 128, haproxy: 1 },
  ].map(({ connections, haproxy }) =>
    cpuMeasure({
      name: `pair-${connections}`,
      title: `two hops over mTLS, ${connections} connections`,
      load: wrk({ connections }),
      ours: pair,
      peers: async (stand) => [
        { subject: await stand.use(startNginxPair), target: 0.7 },
        { subject: await stand.use(startHaproxyPair), target: haproxy },
      ],
    }),
  ),
  ...(['64KiB', '10MiB'] as const).flatMap((size) => {
    const load = wrk({ connections: size === '64KiB' ? 32 : 4, path: BODIES[size] });
    const unit = throughput(BODY_BYTES[size]);
    return [
      cpuMeasure({
        name: `body-${size}`,
        title: `one hop, bodies of ${size}`,
        load,
        unit,
        ours: hop,
        peers: async (stand) => [{ subject: (await stand.use(startNginxHop)).hop, target: 0.6 }],
      }),
      cpuMeasure({
        name: `pair-body-${size}`,
        title: `two hops over mTLS, bodies of ${size}`,
        load,
        unit,
        ours: pair,
        peers: async (stand) => [{ subject: await stand.use(startNginxPair), target: 0.6 }],
      }),
    ];
  }),
  cpuMeasure({
    name: 'routes',
    title: 'one hop, 10,000 routes beside 10',
    load: wrk({
      connections: 32,
      script: ({ routes }) => ['spread-routes.lua', `${routes!.count}`, `${routes!.asked}`],
    }),
    ours: async (stand) => {
      const all = await stand.use(startWith10000Routes);
      return [all, asking(100, all)];
    },
    peers: async (stand) => [{ subject: await stand.use(startWith10Routes), target: 1.1 }],
  }),
  cpuMeasure({
    name: 'log',
    title: 'one hop, access log on',
    load: wrk({ connections: 32 }),
    ours: async (stand) => [await stand.use(startLogging)],
    peers: async (stand) => [{ subject: (await stand.use(startNginxHop)).logged }],
  }),
  cpuMeasure({
    name: 'h2',
    title: 'one hop, HTTP/2 over TLS 1.3 in, 8 connections of 4 streams',
    load: h2load({ connections: 8, streams: 4 }),
    ours: edgeTls,
    peers: async (stand) => [
      { subject: (await stand.use(startNginxHop)).https },
      { subject: (await stand.use(startHaproxyHop)).h2 },
    ],
  }),
  cpuMeasure({
    name: 'grpc',
    title: 'gRPC unary, two hops over mTLS, 8 connections of 4 streams',
    load: h2load({
      connections: 8,
      streams: 4,
      path: GRPC_METHOD,
      headers: ['content-type: application/grpc', 'te: trailers'],
      body: GRPC_MESSAGE,
      answerBytes: GRPC_MESSAGE.length,
    }),
    ours: async (stand) => [(await stand.use(startGatemesh)).grpcPair],
    peers: async (stand) => [
      { subject: await stand.use(startNginxGrpcPair) },
      { subject: await stand.use(startHaproxyGrpcPair) },
    ],
  }),
  cpuMeasure({
    name: 'connections',
    title: 'new TLS 1.3 connections, P-256, one request each',
    unit: CONNECTIONS,
    load: newConnections(),
    ours: edgeTls,
    peers: async (stand) => [{ subject: (await stand.use(startNginxHop)).https, target: 0.5 }],
  }),
  addedLatencyMeasure({
    name: 'rate-hop',
    title: 'one hop at 3,000 requests/s, open loop',
    ours: hop,
    peers: async (stand) => [{ subject: (await stand.use(startNginxHop)).hop, target: 1.5 }],
  }),
  addedLatencyMeasure({
    name: 'rate-pair',
    title: 'two hops over mTLS at 3,000 requests/s, open loop',
    ours: pair,
    peers: async (stand) => [
      { subject: await stand.use(startNginxPair), target: 1.5 },
      { subject: await stand.use(startHaproxyPair) },
    ],
  }),
  ...[
    { kind: 'plain', tls: false, atMostKb: 8 },
    { kind: 'TLS 1.3', tls: true, atMostKb: 30 },
  ].map(({ kind, tls, atMostKb }) =>
    idleMemoryMeasure({
      name: tls ? 'idle-tls' : 'idle-plain',
      title: `memory of an idle keep-alive connection, ${kind}, 10,000 of them`,
      atMostKb,
      tls,
      ours: async (stand) => [await prepareEdge(stand, tls)],
      peers: (stand) => Promise.resolve([nginxAlone(stand, tls)]),
    }),
  ),
  restMeasure({
    name: 'rest',
    title: 'gateway at rest, supervisor + 1 worker',
    atMostMb: 160,
    ours: async (stand) => (await stand.use(startGatemesh)).hop,
  }),
];
