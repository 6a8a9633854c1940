import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { messageOf } from '#kit/errors.ts';
import { createLog } from '#kit/log.ts';
import { parseToken } from '../../ca/client.ts';
import { openEtcdStore } from '../../registry/store/etcd.ts';
import type { GatewayConfig, IdentityConfig } from '../config.ts';

/**
 * What is wrong with the files that a gateway's configuration names, each as a line that begins with its setting.
 * Nothing is connected to and no token is spent.
 */
export async function fileProblems({ registry, identity }: GatewayConfig): Promise<string[]> {
  const problems: string[] = [];
  if (registry.kind === 'etcd') {
    try {
      const store = await openEtcdStore({ ...registry, log: createLog({ level: 'silent' }) });
      await store.close();
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  if (identity?.tokenFile !== undefined)
    problems.push(...(await tokenProblems(identity.tokenFile)));
  if (identity?.files !== undefined) problems.push(...(await pemProblems(identity.files)));
  return problems;
}

/** A node that has joined needs no token any more, so that the file may be gone or empty. */
async function tokenProblems(file: string): Promise<string[]> {
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    return [unreadable('tokenFile', error)];
  }
  if (text === '' || parseToken(text) !== undefined) return [];
  // Not shown: it may be another secret.
  return [
    `identity.tokenFile: ${file} does not hold a token; write the line that "gatemesh ca token" prints into it`,
  ];
}

async function pemProblems(files: NonNullable<IdentityConfig['files']>): Promise<string[]> {
  const problems: string[] = [];
  const read = async <T>(field: keyof typeof files, what: string, parse: (text: string) => T) => {
    let text: string;
    try {
      text = await readFile(files[field], 'utf8');
    } catch (error) {
      problems.push(unreadable(field, error));
      return undefined;
    }
    try {
      return parse(text);
    } catch {
      problems.push(`identity.${field}: ${files[field]} does not hold ${what} in PEM`);
      return undefined;
    }
  };
  const certificate = await read('certFile', 'a certificate', (pem) => new X509Certificate(pem));
  const key = await read('keyFile', 'a private key without passphrase', (pem) =>
    createPrivateKey(pem),
  );
  await read('bundleFile', "the roots' certificates", (pem) => new X509Certificate(pem));
  if (certificate !== undefined && key !== undefined && !certificate.checkPrivateKey(key)) {
    problems.push(
      `identity.keyFile: ${files.keyFile} is not the key of the certificate in ${files.certFile}`,
    );
  }
  return problems;
}

function unreadable(field: string, error: unknown): string {
  return `identity.${field}: wanted a file this user can read; ${messageOf(error)}`;
}
