import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * For a test's `skip` option: false when all these commands are on the PATH, else the reason.
 *
 *     describe('the mesh on a real etcd', { skip: need('etcd', 'etcdctl') }, () => { … });
 *
 * @throws where `CI=true`: there a missing tool is a failure, not a skip
 */
export function need(...tools: readonly string[]): string | false {
  const missing = tools.filter((tool) => !isInstalled(tool));
  if (missing.length === 0) return false;
  const packages = [...new Set(missing.map(debianPackage))].join(' ');
  const reason = `needs ${missing.join(', ')}; as root: apt-get install ${packages}`;
  if (process.env['CI'] === 'true') throw new Error(`${reason} (CI=true, so nothing is skipped)`);
  return reason;
}

function isInstalled(tool: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The same list that test/support/setup.sh installs from. */
function debianPackage(tool: string): string {
  const list = readFileSync(new URL('./debian-packages', import.meta.url), 'utf8');
  for (const line of list.split('\n')) {
    const [name, packageName] = line.split(' ');
    if (name === tool && packageName !== undefined) return packageName;
  }
  throw new Error(`test/support/debian-packages has no line for "${tool}": add one`);
}
