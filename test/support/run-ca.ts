import { EXIT, MeshError, messageOf } from '#kit/errors.ts';
import { runCa } from '../../ca/cli.ts';

// `gatemesh ca …` as a process of its own, for tests that need nothing else of the command.
let code: number;
try {
  code = await runCa(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`gatemesh: ${messageOf(error)}\n`);
  code = error instanceof MeshError ? error.exitCode : EXIT.failed;
}
process.exit(code);
