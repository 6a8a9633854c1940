import { grpcClient, unary } from '../../support/grpc.ts';
import { eventually } from '../../support/eventually.ts';
import { READY_MS } from './control-plane.ts';
import type { Subject } from './subject.ts';

/** Waits until a real gRPC client gets status OK there: the load that follows looks at no trailers. */
export async function answersGrpc({ url, host }: Subject): Promise<void> {
  const { port, host: address } = new URL(url);
  const client = grpcClient(Number(port), host ?? address);
  try {
    await eventually(() => unary(client, 'x', undefined, 2_000), READY_MS);
  } finally {
    client.close();
  }
}
