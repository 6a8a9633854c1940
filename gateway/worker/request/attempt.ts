import { ADDRESS_WANTED, parseAddress, type Address } from '#kit/address.ts';
import { MeshError } from '#kit/errors.ts';
import type { Endpoint } from '../balance/endpoint.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Exchange } from './exchange.ts';
import type { Upstream } from './ports.ts';
import type { MuxPool } from '../upstream/mux-pools.ts';
import type { LocalPool } from '../data-plane.ts';
import { H2InstancePool } from '../upstream/h2-pool.ts';
import { InstancePool } from '../upstream/instance-pool.ts';
import { RawConnection } from '../upstream/raw-connection.ts';

/** One request to be sent: its head as forwarded, and the bytes of its body that are there. */
export interface Sending {
  readonly forwarded: string;
  readonly connectTimeoutMs: number;
  readonly bytes: Buffer | undefined;
  readonly start: number;
  readonly end: number;
  readonly isEnded: boolean;
  /** An upgrade is asked for: no body framing, the stream stays open. */
  readonly wantsTunnel: boolean;
}

/**
 * Step "attempt": sends the request to one endpoint; straight to the instance when it runs on this
 * node, else to its gateway over the mux. What becomes of it comes back through the exchange.
 */
export function attempt(
  plane: DataPlane,
  exchange: Exchange,
  endpoint: Endpoint,
  isLocal: boolean,
  sending: Sending,
): Upstream {
  const { sourceIdentity } = exchange.arrival;
  if (!isLocal) {
    return muxPool(plane, endpoint, sourceIdentity).open(exchange, endpoint.instance.id, sending);
  }
  if (endpoint.instance.protocol === 'tcp') {
    return new RawConnection(appAddress(endpoint), sending.connectTimeoutMs, exchange);
  }
  const { trustDomain } = plane.settings;
  const head = sending.forwarded + exchange.forwarding.callerLine(trustDomain, endpoint.service);
  return localPool(plane, endpoint).open(exchange, head, sending);
}

/** By caller, kept at the endpoint: finding it anew is a string to build and hash per request. */
function muxPool(plane: DataPlane, endpoint: Endpoint, sourceIdentity: string): MuxPool {
  const pools = (endpoint.upstream ??= new Map()) as Map<string, MuxPool>;
  let pool = pools.get(sourceIdentity);
  if (pool === undefined || pool.isForgotten) {
    pool = plane.muxPools.get(sourceIdentity, endpoint.service, endpoint.instance.address);
    pools.set(sourceIdentity, pool);
  }
  return pool;
}

/** By the protocol of the instance, which can change while its addresses stay. */
function localPool(plane: DataPlane, endpoint: Endpoint): LocalPool {
  const { protocol } = endpoint.instance;
  const Wanted = protocol === 'http2' || protocol === 'grpc' ? H2InstancePool : InstancePool;
  const kept = endpoint.upstream;
  if (kept instanceof Wanted) return kept;
  if (kept instanceof InstancePool || kept instanceof H2InstancePool) kept.close();
  const pool = new Wanted(plane, appAddress(endpoint));
  endpoint.upstream = pool;
  return pool;
}

function appAddress(endpoint: Endpoint): Address {
  const { app } = endpoint.instance;
  const address = parseAddress(app);
  if (address === undefined) {
    throw new MeshError(
      'bad_instance',
      `${endpoint.key}: wanted ${ADDRESS_WANTED} as app, got "${app}"`,
    );
  }
  return address;
}
