#!/bin/sh
# Brings what the tests and the bench need: node_modules, and Debian's packages when this is root. Run by test/run
# before anything else, in plain sh because there may be no usable Node yet.
set -u
cd "$(dirname "$0")/../.." || exit 1
PATH="$PATH:/usr/sbin:/sbin"

# npm writes node_modules/.package-lock.json last, so an interrupted installation counts as none.
installed=node_modules/.package-lock.json
if [ ! -f $installed ] || [ -n "$(find package-lock.json package.json -newer $installed)" ]; then
  command -v npm >/dev/null || {
    echo 'setup: npm is not installed; install Node.js 20 or later with npm, then try again' >&2
    exit 69
  }
  echo 'setup: npm ci'
  npm ci --loglevel=error --no-fund --no-audit </dev/null || {
    echo 'setup: npm ci failed (see above); node_modules is not complete' >&2
    exit 69
  }
  touch $installed
fi

node_ok='const [a, b] = process.versions.node.split("."); process.exit(a > 24 || (a == 24 && b >= 12) ? 0 : 1)'
PATH="$PWD/node_modules/.bin:$PATH" node -e "$node_ok" || {
  echo "setup: Node 24.12 or later is needed; npm brought none for $(uname -sm), so install one" >&2
  exit 69
}

missing=
while read -r tool package; do
  command -v "$tool" >/dev/null && continue
  case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
done <test/support/debian-packages
[ -z "$missing" ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "setup: not installed:$missing"
  echo "setup: the tests that need them are skipped; as root: apt-get install --no-install-recommends$missing"
  exit 0
fi

echo "setup: apt-get install$missing"
# The packages of servers start them when installed; 101 says "action forbidden by policy" (invoke-rc.d, Debian policy 9.3.3).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
  trap 'rm -f $policy' EXIT
  trap 'exit 130' INT TERM
fi
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
log=$(mktemp)
# shellcheck disable=SC2086 # a list of names
if { apt-get -q update && apt-get -qy install --no-install-recommends $missing; } </dev/null >"$log" 2>&1; then
  rm -f "$log"
else
  cat "$log"
  rm -f "$log"
  echo "setup: apt-get failed (see above); the tests that need$missing are skipped" >&2
fi
exit 0
