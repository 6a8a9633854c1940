/** What `gatemesh ca … --help` prints, and the defaults it names. */

export const DEFAULT_LISTEN = '0.0.0.0:15444';
export const DEFAULT_PREFIX = '/gatemesh/v1';

export const SERVE_USAGE = `gatemesh ca serve --dir DIR [--listen 0.0.0.0:15444] [REGISTRY] [--leaf-ttl 24h] [--socket PATH] [--passphrase-file FILE]
  Answers gateways over HTTPS, and operators on the Unix socket PATH (default DIR/admin.sock).
  --leaf-ttl   life of the certificates it signs; gateways renew at half of it
  REGISTRY     where tokens and enrolments are kept; one CA alone needs none and keeps them in DIR/registry.db
    --etcd URL[,URL] [--prefix ${DEFAULT_PREFIX}] [--etcd-ca FILE] [--etcd-cert FILE --etcd-key FILE]
    --embedded FILE`;

export const INIT_USAGE = `gatemesh ca init --dir DIR [--trust-domain mesh.internal] [--passphrase-file FILE]
  Makes a root and an issuer in DIR, which must not exist yet, and prints the root's fingerprint.
  --passphrase-file   encrypts both keys with the first line of FILE; without it they are plain, mode 0600`;
export const SIGN_USAGE = `gatemesh ca sign --identity ID --dir DIR|--socket PATH [--csr FILE|-] [--ttl 24h]
  Sends a certificate request to the CA running on this machine; prints the certificate and its issuer (PEM).
  --identity   svc/web, node/vm-a, edge/public, or a whole SPIFFE id
  --csr        the request (PEM); default -, standard input
  --dir        the CA's folder, whose admin.sock is used; --socket names another one`;
export const TOKEN_USAGE = `gatemesh ca token --node NAME --dir DIR|--socket PATH [--services web,orders] [--gateway NAME] [--ttl 10m]
  Prints a token with which one machine joins, once.
  --services   the services this machine may be; --service NAME may be repeated instead
  --gateway    the edge gateway it may run`;
export const STATUS_USAGE = `gatemesh ca status --dir DIR [--json]
  Prints roots, issuers, when they end, and how many certificates were issued.`;
