import { isDeepStrictEqual } from 'node:util';
import { EXIT, MeshError, messageOf, type ExitCode } from '#kit/errors.ts';
import { parseFlags, usageError } from '#kit/flags.ts';
import { createLog, type Log } from '#kit/log.ts';
import { giveBackMemory } from '#kit/memory.ts';
import { startGateway, type RunningGateway } from './app.ts';
import { loadGatewayConfig, type GatewayConfig } from './config.ts';
import { fileProblems } from './supervisor/check-files.ts';

const USAGE = `gatemesh gateway --config FILE [--check]
  Runs this machine's gateway until SIGTERM. SIGHUP reads FILE and services.d/ beside it again.
  --config   the gateway's file, YAML or JSON: /etc/gatemesh/gateway.yaml
  --check    reads everything, prints every problem and starts nothing; exits 0 or 64`;

/**
 * `gatemesh gateway …` with the words after `gateway`.
 *
 * @throws MeshError with its exit code; the caller prints the message
 */
export async function runGateway(argv: readonly string[]): Promise<ExitCode> {
  const { values, positionals } = parseFlags(
    'gatemesh gateway',
    argv,
    {
      config: { type: 'string' },
      check: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
    USAGE,
  );
  if (values.help === true) {
    process.stdout.write(`usage: ${USAGE}\n`);
    return EXIT.done;
  }
  if (positionals.length > 0) {
    throw usageError('gatemesh gateway', `wanted flags only; got "${positionals[0]}"`, USAGE);
  }
  if (values.config === undefined) {
    throw usageError('gatemesh gateway', 'wanted --config FILE; got nothing', USAGE);
  }
  return values.check === true ? check(values.config) : serve(values.config);
}

async function check(file: string): Promise<ExitCode> {
  const config = await loadGatewayConfig(file);
  const problems = await fileProblems(config);
  if (problems.length > 0) {
    const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
    throw new MeshError(
      'config_invalid',
      `${count} with what ${file} names:\n  ${problems.join('\n  ')}`,
      { exitCode: EXIT.usage },
    );
  }
  const services = config.services.map(({ service }) => service).join(', ');
  process.stdout.write(`${file} is good: node ${config.node}, services ${services || 'none'}\n`);
  return EXIT.done;
}

async function serve(file: string): Promise<ExitCode> {
  // Until it can be served, a reload must not be what its default action is: the end.
  process.on('SIGHUP', () => {});
  const config = await loadGatewayConfig(file);
  // Workers write their own lines, at the same level.
  if (config.logLevel !== undefined) process.env['GATEMESH_LOG_LEVEL'] = config.logLevel;
  const log = createLog();

  // From here on, so that a stop during the start still drains and deregisters; a second one ends the start at once.
  const stopped = stopSignal();
  const gateway = await startGateway(file, config, log, stopped);
  // A fault in one corner of the supervisor is no reason to end the traffic that its workers carry.
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'unexpected error; the gateway keeps running, please report this');
  });
  process.on('SIGHUP', () => void reload(file, gateway, log));
  giveBackMemory();
  await stopped;
  log.info('stopping: draining, then deregistering');
  process.once('SIGTERM', () => endNow(gateway, log));
  process.once('SIGINT', () => endNow(gateway, log));
  await gateway.stop();
  log.info('stopped');
  return EXIT.done;
}

function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });
}

function endNow(gateway: RunningGateway, log: Log): void {
  log.warn('second signal: ending without waiting');
  gateway.kill();
  process.exit(EXIT.failed);
}

/** What a running gateway takes over from its file; the rest is fixed when it starts. */
const LIVE: ReadonlySet<string> = new Set(['services'] satisfies (keyof GatewayConfig)[]);

/** Never rejects: a bad file changes nothing and says why. */
async function reload(file: string, { supervisor }: RunningGateway, log: Log): Promise<void> {
  let config: GatewayConfig;
  try {
    config = await loadGatewayConfig(file);
  } catch (error) {
    supervisor.setFileProblem(messageOf(error));
    log.error({ problem: messageOf(error) }, 'reload: nothing changed');
    return;
  }
  const running = supervisor.config;
  const waiting = (Object.keys({ ...running, ...config }) as (keyof GatewayConfig)[]).filter(
    (key) => !LIVE.has(key) && !isDeepStrictEqual(running[key], config[key]),
  );
  if (waiting.length > 0) {
    log.warn({ settings: waiting }, 'reload: these settings take effect after a restart');
  }
  supervisor.setFileProblem(undefined);
  supervisor.setServices(config.services);
  supervisor.lookAtFiles();
  log.info({ services: config.services.map(({ service }) => service) }, 'reloaded');
}
