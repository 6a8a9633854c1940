import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import { nearest } from '#kit/nearest.ts';
import { packageVersion } from './version.ts';

/** Runs one command with the words after its name; resolves to the exit code. */
type Run = (argv: readonly string[]) => Promise<number>;

interface Command {
  readonly summary: string;
  /** Imported only when asked for: `gatemesh get` must not pay for the whole gateway. */
  readonly load: () => Promise<Run>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  gateway: {
    summary: 'the process that runs on every VM: --config FILE [--check]',
    load: async () => (await import('./run.ts')).runGateway,
  },
  ca: {
    summary: 'the built-in certificate authority: init, serve, sign, token, status',
    load: async () => (await import('../ca/cli.ts')).runCa,
  },
  demo: {
    summary: 'a whole mesh on this machine, with a tour: [--etcd URL] [--exit-after-tour]',
    load: async () => (await import('./demo/demo.ts')).runDemo,
  },
  get: {
    summary: 'objects under config/ as they stand in the registry: [KIND [NAME]]',
    load: async () => (await import('./cli/objects-commands.ts')).runGet,
  },
  apply: {
    summary: 'check objects and write them in one transaction: [KIND NAME] -f FILE|DIR|-',
    load: async () => (await import('./cli/objects-commands.ts')).runApply,
  },
  delete: {
    summary: 'remove one object: KIND NAME',
    load: async () => (await import('./cli/objects-commands.ts')).runDelete,
  },
  diff: {
    summary: 'what apply would change: [KIND NAME] -f FILE|DIR|-',
    load: async () => (await import('./cli/objects-commands.ts')).runDiff,
  },
  lint: {
    summary: 'every problem of the objects in the registry, or in files',
    load: async () => (await import('./cli/objects-commands.ts')).runLint,
  },
  explain: {
    summary: 'where a request would go and why: [METHOD] URL [--from SERVICE]',
    load: async () => (await import('./cli/inspect.ts')).runExplain,
  },
  status: {
    summary: 'how this gateway and its mesh are doing',
    load: async () => (await import('./cli/inspect.ts')).runStatus,
  },
  check: {
    summary: 'the same as findings; exits non-zero on trouble',
    load: async () => (await import('./cli/inspect.ts')).runCheck,
  },
};

/** Named by the contract, not in this version: better said than "unknown". */
const NOT_YET = ['history', 'rollback', 'top', 'tap', 'graph', 'drain', 'undrain'];

function usage(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(
    ([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`,
  );
  return [
    'usage: gatemesh COMMAND [FLAGS]',
    '',
    ...lines,
    '',
    '"gatemesh COMMAND --help" tells more about one; "gatemesh --version" prints the version.',
  ].join('\n');
}

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) throw usageProblem(`wanted a command; got nothing\n${usage()}`);
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(`${usage()}\n`);
    return EXIT.done;
  }
  if (name === '--version' || name === 'version') {
    process.stdout.write(`gatemesh ${packageVersion()}\n`);
    return EXIT.done;
  }
  if (NOT_YET.includes(name)) {
    throw usageProblem(`this version (${packageVersion()}) has no "${name}" command yet`);
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    const near = nearest(name, Object.keys(COMMANDS));
    const hint = near === undefined ? '"gatemesh --help" lists all' : `Did you mean "${near}"?`;
    throw usageProblem(`unknown command "${name}". ${hint}`);
  }
  return (await command.load())(rest);
}

function usageProblem(message: string): MeshError {
  return new MeshError('usage', message, { exitCode: EXIT.usage });
}

// `gatemesh get | head` closes the pipe early; that is not a failure worth a stack trace.
process.stdout.on('error', () => process.exit(EXIT.done));

let code: number;
try {
  code = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`gatemesh: ${messageOf(error)}\n`);
  code = error instanceof MeshError ? error.exitCode : EXIT.failed;
}
// Not by running dry: a client's idle connection or timer must not keep a finished command alive.
process.exit(code);
