/**
 * node-forge's ASN.1 codec alone. The package's entry would also load its RSA, Ed25519 and chain
 * verification, which have a history of forgeries (CVE-2022-24771, CVE-2025-12816, CVE-2026-33896)
 * and are not used here: verification is OpenSSL's, through node:crypto.
 */
declare module 'node-forge/lib/asn1.js' {
  /** One tag-length-value; the value of a primitive is a binary string, one character per byte. */
  export interface Asn1 {
    readonly tagClass: number;
    readonly type: number;
    readonly constructed: boolean;
    readonly value: string | readonly Asn1[];
  }
  interface ForgeAsn1 {
    create(
      tagClass: number,
      type: number,
      constructed: boolean,
      value: string | readonly Asn1[],
    ): Asn1;
    fromDer(
      bytes: string,
      options: {
        readonly strict: boolean;
        readonly parseAllBytes: boolean;
        readonly decodeBitStrings: boolean;
        readonly maxDepth: number;
      },
    ): Asn1;
    toDer(node: Asn1): { getBytes(): string };
    oidToDer(oid: string): { getBytes(): string };
    derToOid(bytes: string): string;
  }
  const asn1: ForgeAsn1;
  export default asn1;
}
