#!/bin/sh
# Installs missing Debian packages: those of packages.txt, or of the list in this folder that the argument names.
# Changes nothing else on the host.
# Safe to run again: with nothing missing it neither needs root nor asks apt anything.
set -eu
cd "$(dirname "$0")"

fail() { echo "winvm: $1" >&2; exit 2; }
[ -r /etc/os-release ] || fail "no /etc/os-release: this script knows Debian 12 and newer. Install the packages of vm/host/packages.txt by hand."
. /etc/os-release
case "${ID:-}" in
    debian) ;;
    *) fail "${PRETTY_NAME:-this system} is not Debian: install what vm/host/packages.txt names (QEMU 10, libvirt 11, clang 19, Wine is not needed), then run: make setup SKIP_HOST=1" ;;
esac

backports=
[ "${VERSION_ID:-0}" -gt 12 ] || backports="${VERSION_CODENAME}-backports"

list=${1:-packages.txt}
installed() { dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p'; }
missing=
missing_backports=
while read -r name _; do
    case "$name" in ''|'#'*) continue ;; esac
    plain=${name#backports:}
    have=$(installed "$plain")
    if [ "$name" != "$plain" ] && [ -n "$backports" ]; then
        case "$have" in *bpo*) ;; *) missing_backports="$missing_backports $plain" ;; esac
    elif [ -z "$have" ]; then
        missing="$missing $plain"
    fi
done < "$list"
[ -n "$missing$missing_backports" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "winvm: Debian packages are missing:$missing$missing_backports" >&2
    echo "winvm: installing them needs root. Run this once, then the same make command again:" >&2
    echo "    sudo $(pwd)/install.sh${1:+ $1}" >&2
    exit 2
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp -t winvm-install.XXXXXX)

# Runs a command with its output in the log; shows the log's end when it fails.
logged() {
    "$@" >>"$log" 2>&1 </dev/null && return
    tail -n 30 "$log" >&2
    fail "\`$*\` failed; its whole output is in $log. Correct what it says, then run the same command again."
}
apt() {
    logged apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

echo "winvm: installing Debian packages, a minute or more:$missing$missing_backports"
logged dpkg --configure -a # an installation that was cut short blocks every later one
apt update
if [ -n "$missing_backports" ] && ! apt-cache policy | grep -q "n=$backports"; then
    # The mirror is the one this machine already uses for its release.
    mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' |
        awk -v release="$VERSION_CODENAME" '$1 == release { print $2; exit }')
    [ -n "$mirror" ] || fail "no apt source for $VERSION_CODENAME found: add $backports to /etc/apt/sources.list.d by hand"
    cat > /etc/apt/sources.list.d/winvm-backports.sources <<SOURCE
Types: deb
URIs: $mirror
Suites: $backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCE
    apt update
fi
# shellcheck disable=SC2086
[ -z "$missing" ] || apt install --no-install-recommends $missing
# shellcheck disable=SC2086
[ -z "$missing_backports" ] || apt install --no-install-recommends -t "$backports" $missing_backports
rm -f "$log"
