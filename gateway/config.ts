import { readdir, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { formatAddress } from '#kit/address.ts';
import { EXIT, MeshError } from '#kit/errors.ts';
import { gatewayFile, localService, ownListenerAt } from './config/schema.ts';
import type { GatewayConfig, LocalService } from './config/types.ts';
import { formatFileProblem, readYaml, type FileProblem, type SourceFile } from './config/yaml.ts';

export type {
  EgressListener,
  GatewayConfig,
  IdentityConfig,
  LocalService,
  LogLevel,
  RegistryConfig,
} from './config/types.ts';
export type { SourceFile } from './config/yaml.ts';

/**
 * The configuration in `file` (YAML or JSON) and in the files of `services.d/` beside it.
 *
 * @throws MeshError (exit code 64) `config_unreadable` when a file cannot be read, `config_invalid` with every
 *   problem of every file, one a line: file, line, path, what was wanted, what was there, the nearest right word
 */
export async function loadGatewayConfig(file: string): Promise<GatewayConfig> {
  const text = await readText(file);
  const services = await readServiceFiles(join(dirname(resolve(file)), 'services.d'));
  return parseGatewayConfig(text, file, { services, hostname: hostname() });
}

/**
 * The same from texts.
 *
 * @param filename for messages
 * @param options.hostname the default of `node`
 * @param options.services the files of `services.d/`, in order
 * @throws MeshError `config_invalid` (exit code 64)
 */
export function parseGatewayConfig(
  text: string,
  filename: string,
  options: { readonly hostname?: string; readonly services?: readonly SourceFile[] } = {},
): GatewayConfig {
  const main = readYaml({ file: filename, text }, gatewayFile(options.hostname ?? ''));
  const problems: FileProblem[] = main.ok ? [] : [...main.problems];
  const placed: { service: LocalService; file: string; line: number; path: string }[] = [];
  if (main.ok) {
    for (const [i, service] of main.value.services.entries()) {
      const line = main.lineOf(['services', i]);
      placed.push({ service, file: filename, line, path: `$.services[${i}]` });
    }
  }
  for (const source of options.services ?? []) {
    const read = readYaml(source, localService);
    if (!read.ok) problems.push(...read.problems);
    else placed.push({ service: read.value, file: source.file, line: 1, path: '$' });
  }

  const seen = new Map<string, string>();
  const users = new Map<string, string>();
  for (const { service, file, line, path } of placed) {
    const at = formatAddress(service.address);
    const before = seen.get(`${service.service} ${at}`);
    if (before !== undefined) {
      const got = `${JSON.stringify(at)}, which is also in ${before}`;
      const wanted = `an address that no other instance of ${service.service} has`;
      problems.push({ file, line, path: `${path}.address`, wanted, got });
    }
    const own = main.ok ? ownListenerAt(service.address, main.value) : undefined;
    if (own !== undefined) {
      const got = `${JSON.stringify(at)}, which is ${own} of this gateway`;
      problems.push({
        file,
        line,
        path: `${path}.address`,
        wanted: 'where the service listens',
        got,
      });
    }
    seen.set(`${service.service} ${at}`, `${file}:${line}`);
    if (service.user === undefined) continue;
    const other = users.get(service.user);
    if (other !== undefined && other !== service.service) {
      const got = `${JSON.stringify(service.user)}, which is ${other}'s: their calls could not be told apart`;
      const wanted = 'a user that runs no other service';
      problems.push({ file, line, path: `${path}.user`, wanted, got });
    }
    users.set(service.user, service.service);
  }
  if (!main.ok || problems.length > 0) throw invalid(problems);
  return { ...main.value, services: placed.map(({ service }) => service) };
}

function invalid(problems: readonly FileProblem[]): MeshError {
  const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
  const lines = problems.map((problem) => `  ${formatFileProblem(problem)}`);
  return new MeshError('config_invalid', `${count} in the configuration:\n${lines.join('\n')}`, {
    exitCode: EXIT.usage,
  });
}

async function readServiceFiles(folder: string): Promise<SourceFile[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw unreadable(folder, error);
  }
  // Editors and package managers leave `x.yaml~`, `x.yaml.dpkg-old` and `.x.yaml.swp` behind.
  const wanted = names.filter((file) => /^[^.].*\.(?:ya?ml|json)$/.test(file)).toSorted();
  return Promise.all(
    wanted.map(async (file) => ({
      file: join(folder, file),
      text: await readText(join(folder, file)),
    })),
  );
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw unreadable(file, error);
  }
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file; name it with --config FILE',
  EACCES: 'this user may not read it; check its owner and mode',
  EISDIR: 'it is a directory; name the file in it',
};

function unreadable(file: string, cause: unknown): MeshError {
  const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
  return new MeshError('config_unreadable', `cannot read ${file}: ${WHY[code] ?? code}`, {
    cause,
    exitCode: EXIT.usage,
  });
}
