import { connect, createServer } from 'node:net';
import { formatAddress, type Address } from '#kit/address.ts';
import { MeshError } from '#kit/errors.ts';
import { listeners } from './plan.ts';

/**
 * Every address must be free before anything starts: half a demo is worse than none.
 * @throws MeshError `demo_address` with all that cannot be had, what each is for, and what to do
 */
export async function checkAddresses(): Promise<void> {
  const trials = await Promise.all(
    listeners().map(async ({ address, what }) => {
      const problem = await listenProblem(address);
      return problem === undefined ? [] : [`  ${formatAddress(address)} for ${what}: ${problem}`];
    }),
  );
  const problems = trials.flat();
  if (problems.length === 0) return;
  throw new MeshError(
    'demo_address',
    `the demo needs addresses that cannot be had:\n${problems.join('\n')}\n` +
      'End what listens there ("ss -ltnp" names it; another demo perhaps), then start again.',
  );
}

const LISTEN_PROBLEMS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'something listens there already',
  EADDRNOTAVAIL: 'this machine has no such address (macOS: "sudo ifconfig lo0 alias ADDRESS")',
};

function listenProblem({ host, port }: Address): Promise<string | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      resolve(LISTEN_PROBLEMS[error.code ?? ''] ?? error.message);
    });
    server.listen(port, host, () => server.close(() => resolve(undefined)));
  });
}

/** Resolves when a TCP connection is accepted there; rejects with the socket's error. */
export function accepts({ host, port }: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
    socket.once('error', reject);
  });
}
