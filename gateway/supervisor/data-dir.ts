import { constants } from 'node:fs';
import { access, chmod, mkdir } from 'node:fs/promises';
import { EXIT, MeshError, messageOf } from '#kit/errors.ts';

/**
 * Makes sure that `dataDir` is there, ours and closed to others (0700): keys lie in it.
 *
 * @throws MeshError `data_dir` (exit code 64) that names the setting and what to do
 */
export async function prepareDataDir(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await chmod(dataDir, 0o700);
    await access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new MeshError(
      'data_dir',
      `dataDir ${dataDir}: wanted a folder that this user can write to; ${messageOf(error)}. ` +
        'Create it for this user, or set dataDir to another place',
      { cause: error, exitCode: EXIT.usage },
    );
  }
}
