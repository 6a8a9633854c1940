import { request as httpRequest } from '#kit/http.ts';
import { EXIT, MeshError, messageOf, type ExitCode } from '#kit/errors.ts';

const TIMEOUT_MS = 10_000;

/**
 * One question to the CA that runs on this machine.
 *
 * @throws MeshError `ca_unreachable` (exit code 69), or the code the CA answered with
 */
export async function postLocal<T>(socketPath: string, path: string, body: object): Promise<T> {
  const { status, answer } = await exchange(socketPath, path, JSON.stringify(body)).catch(
    (cause: unknown) => {
      const denied = (cause as NodeJS.ErrnoException).code === 'EACCES';
      const remedy = denied
        ? 'Run it as root or as a member of the group of that socket'
        : 'Is "gatemesh ca serve" running on this machine, with this --dir or --socket?';
      throw new MeshError(
        'ca_unreachable',
        `cannot reach the CA at ${socketPath}: ${messageOf(cause)}. ${remedy}`,
        { cause, exitCode: EXIT.unreachable },
      );
    },
  );
  const parsed = JSON.parse(answer) as T & { readonly error: string; readonly message: string };
  if (status === 200) return parsed;
  throw new MeshError(parsed.error, parsed.message, { exitCode: exitCodeOf(parsed.error) });
}

function exitCodeOf(error: string): ExitCode {
  if (error === 'store_unreachable') return EXIT.unreachable;
  // Of --ttl, whose limits only the authority knows.
  return error === 'ttl_not_allowed' ? EXIT.usage : EXIT.failed;
}

function exchange(
  socketPath: string,
  path: string,
  body: string,
): Promise<{ readonly status: number; readonly answer: string }> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', host: 'localhost' };
    const request = httpRequest({ socketPath, path, method: 'POST', headers, agent: false });
    request.setTimeout(TIMEOUT_MS, () =>
      request.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)),
    );
    request.once('error', reject);
    request.once('response', (response) => {
      let answer = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (answer += chunk));
      response.once('error', reject);
      response.once('end', () => resolve({ status: response.statusCode ?? 0, answer }));
    });
    request.end(body);
  });
}
