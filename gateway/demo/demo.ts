import { formatAddress } from '#kit/address.ts';
import { EXIT, MeshError, type ExitCode } from '#kit/errors.ts';
import { parseFlags, usageError } from '#kit/flags.ts';
import { CANARY_KEY, canary, EDGE_ADDRESS, NODES, PORTS, VM_A, WEB_EGRESS } from './plan.ts';
import { screen as terminal, type Screen } from './screen.ts';
import { runTour, type PutCommand } from './tour.ts';
import { background } from './traffic.ts';
import { startWorld, type World } from './world.ts';

const USAGE = 'gatemesh demo [--etcd URL] [--exit-after-tour]';
const HELP = `usage: ${USAGE}

A whole mesh on this machine: a CA, a registry, three gateways (vm-a, vm-b, vm-c on 127.0.1.1 to 127.0.1.3)
and the sample services web, orders (v1 and v2) and payments. It shows what the mesh does in a tour of about
half a minute, then keeps running for you to try things. Ctrl-C ends everything it started.

  --etcd URL          use this etcd (keys under /gatemesh/demo/) instead of the embedded registry
  --exit-after-tour   end after the tour: exit code 0 when every step was as it should be, else 1
`;

/** `gatemesh demo`: resolves to the exit code when the demo has ended and nothing of it is left. */
export async function runDemo(argv: readonly string[]): Promise<ExitCode> {
  const { values, positionals } = parseFlags(
    'gatemesh demo',
    argv,
    {
      etcd: { type: 'string' },
      'exit-after-tour': { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
    USAGE,
  );
  if (values.help === true) {
    process.stdout.write(HELP);
    return EXIT.done;
  }
  if (positionals.length > 0) {
    throw usageError('gatemesh demo', `wanted only flags; got "${positionals[0]}"`, USAGE);
  }
  if (values.etcd !== undefined) checkUrl(values.etcd);

  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort();
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  const screen = terminal(
    (text) => process.stdout.write(text),
    process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
  );
  try {
    return await demo(values, screen, interrupted.signal);
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

async function demo(
  options: { readonly etcd?: string | undefined; readonly 'exit-after-tour'?: boolean | undefined },
  screen: Screen,
  interrupted: AbortSignal,
): Promise<ExitCode> {
  screen.line('Starting a CA, three gateways and four sample services on this machine …');
  let world: World;
  try {
    world = await startWorld(options.etcd, interrupted);
  } catch (error) {
    if (interrupted.aborted) return EXIT.done;
    throw error;
  }

  let well = true;
  try {
    describeWorld(screen, world, options.etcd);
    let ending = false;
    let touring = true;
    for (const one of world.processes) {
      void one.exited.then(({ code, signal }) => {
        if (ending || interrupted.aborted) return;
        well = false;
        screen.line(`  ${one.name} ended (${signal ?? `exit code ${code}`}); see ${one.logFile}`);
      });
    }
    const traffic = background(EDGE_ADDRESS, (line) => {
      if (!touring) screen.line(`  ${new Date().toTimeString().slice(0, 8)}  ${line}`);
    });
    try {
      screen.title('Tour');
      const toured = await Promise.race([tour(world, screen, options.etcd), aborted(interrupted)]);
      if (toured === undefined) return EXIT.done;
      well &&= toured;
      screen.line();
      screen.line(toured ? 'The tour found everything as it should be.' : 'The tour FAILED.');
      if (options['exit-after-tour'] === true) return well ? EXIT.done : EXIT.failed;
      touring = false;
      screen.line('A few requests a second go on; a line appears here when something changes.');
      screen.line('Ctrl-C ends everything.');
      await aborted(interrupted);
      return EXIT.done;
    } finally {
      ending = true;
      await traffic.stop();
    }
  } catch (error) {
    well = false;
    throw error;
  } finally {
    await world.stop(!well);
    screen.line();
    screen.line(
      well ? 'Everything is ended and removed.' : `Ended. The logs are in ${world.folder}`,
    );
  }
}

function tour(world: World, screen: Screen, etcd: string | undefined): Promise<boolean> {
  const orders = world.services.filter(({ name }) => name === 'orders');
  return runTour({ registry: world.registry, screen, orders, putCommand: putCommand(world, etcd) });
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

function describeWorld(screen: Screen, world: World, etcd: string | undefined): void {
  const choice = world.registryChoice;
  screen.title('What runs');
  screen.table([
    ...NODES.map(({ name, host, services, edge }) => [
      name,
      host,
      services.map(({ service, version }) => `${service} v${version}`).join(', '),
      edge === undefined ? '' : `edge gateway "${edge}" on http://${formatAddress(EDGE_ADDRESS)}/`,
    ]),
    ['ca', VM_A.host, `port ${PORTS.ca}`],
    ['registry', '', 'embedded' in choice ? 'embedded' : 'etcd', registryPlace(world)],
    ['files', '', 'logs, configuration', world.folder],
  ]);

  screen.title('What to open');
  screen.table(NODES.map(({ name, host }) => [name, `http://${host}:${PORTS.admin}/`]));

  const put = putCommand(world, etcd);
  screen.title('What to type (in the clone, in another terminal)');
  screen.table([
    [
      'once',
      `export GATEMESH_ADMIN=${adminOf()} GATEMESH_CONFIG=${world.folder}/vm-a/gateway.yaml`,
    ],
    ['through the edge', `curl http://${formatAddress(EDGE_ADDRESS)}/`],
    ['as web to orders', `curl -H 'host: orders.mesh' http://${formatAddress(WEB_EGRESS)}/`],
    ['as a plain proxy', `http_proxy=http://${VM_A.host}:${PORTS.egress} curl http://orders.mesh/`],
    ['where would it go', 'npx gatemesh explain http://orders.mesh/ --from web'],
    ['how is vm-a', 'npx gatemesh status'],
    ['move the weights', put(CANARY_KEY, canary(20, 80))],
    ['what is configured', 'npx gatemesh get'],
  ]);
}

function adminOf(): string {
  return `http://${VM_A.host}:${PORTS.admin}`;
}

function registryPlace({ registryChoice: choice }: World): string {
  if ('embedded' in choice) return choice.embedded.file;
  return `${choice.etcd.endpoints.join(', ')}, keys under ${choice.etcd.prefix}/`;
}

/** How somebody in front of the demo puts a document; with the embedded registry by the checking command. */
function putCommand({ registryChoice: choice }: World, etcd: string | undefined): PutCommand {
  return 'etcd' in choice
    ? (key, value) => `etcdctl --endpoints ${etcd} put ${choice.etcd.prefix}/${key} '${value}'`
    : (key, value) => `echo '{"${key}":${value}}' | npx gatemesh apply -f -`;
}

function checkUrl(url: string): void {
  const parsed = URL.parse(url);
  if (parsed !== null && ['http:', 'https:'].includes(parsed.protocol)) return;
  throw new MeshError(
    'usage',
    `gatemesh demo: --etcd wants a URL such as "http://127.0.0.1:2379"; got "${url}"`,
    { exitCode: EXIT.usage },
  );
}
