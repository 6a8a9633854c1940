import type { KeyObject } from 'node:crypto';
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { MeshError } from '#kit/errors.ts';

/**
 * A private key that can do one thing: ECDSA with SHA-256. This file is the only one that touches a private
 * key; the key itself never leaves the closure.
 */
export interface Signer {
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer;
  /** The DER signature (RFC 3279 section 2.2.3) over `data`. */
  sign(data: Buffer): Buffer;
}

/** A fresh P-256 key, as a signer and as PKCS#8 PEM: encrypted when there is a passphrase. */
export function generateSigner(passphrase?: string): {
  readonly signer: Signer;
  readonly pem: string;
} {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({
    format: 'pem',
    type: 'pkcs8',
    ...(passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase }),
  });
  return { signer: signerOf(privateKey), pem };
}

/**
 * @param where names the key in messages, usually its file
 * @throws MeshError `ca_key_unreadable`
 */
export function openSigner(pem: string, passphrase: string | undefined, where: string): Signer {
  const encrypted = pem.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----');
  if (encrypted && passphrase === undefined) {
    throw new MeshError(
      'ca_key_unreadable',
      `${where} is encrypted: give the file that holds its passphrase with --passphrase-file`,
    );
  }
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: 'pem', ...(encrypted ? { passphrase } : {}) });
  } catch (cause) {
    throw new MeshError(
      'ca_key_unreadable',
      encrypted
        ? `${where} does not open with the passphrase that was given`
        : `${where} is not a private key in PKCS#8 PEM`,
      { cause },
    );
  }
  if (key.asymmetricKeyType !== 'ec') {
    throw new MeshError(
      'ca_key_unreadable',
      `${where}: wanted an EC key, got ${key.asymmetricKeyType ?? 'none'}`,
    );
  }
  return signerOf(key);
}

function signerOf(key: KeyObject): Signer {
  return {
    spki: createPublicKey(key).export({ format: 'der', type: 'spki' }),
    sign: (data) => sign('sha256', data, key),
  };
}
