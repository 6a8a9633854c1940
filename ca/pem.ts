import { MeshError } from '#kit/errors.ts';

/** PEM (RFC 7468): Base64 of DER between two lines. */
export function toPem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----\s+([A-Za-z0-9+/=\s]+)-----END \1-----/g;

/**
 * The DER of every `label` block in `text`, in order. Whatever stands around the blocks is skipped, as
 * OpenSSL does.
 *
 * @throws MeshError `no_pem`, when there is none; `what` names the file or field
 */
export function fromPem(label: string, text: string, what: string): readonly Buffer[] {
  const found = Array.from(text.matchAll(BLOCK))
    .filter((match) => match[1] === label)
    .map((match) => Buffer.from(match[2]!, 'base64'));
  if (found.length === 0) {
    throw new MeshError('no_pem', `${what}: wanted PEM with "-----BEGIN ${label}-----", got none`);
  }
  return found;
}
