#!/bin/sh
# Installs missing host packages: those of packages.txt (Debian, Ubuntu), packages-fedora.txt or packages-arch.txt, or
# of the list in this folder that the argument names. Changes nothing else on the host.
# Safe to run again: with nothing missing it neither needs root nor asks the package manager anything.
#
#   install.sh [--dry-run] [LIST]     --dry-run: prints what it would install, and with what
set -eu
cd "$(dirname "$0")"

dry=
[ "${1:-}" != --dry-run ] || { dry=yes; shift; }
fail() { echo "winvm: $1" >&2; exit 2; }

machine=$(uname -m)
[ "$machine" = x86_64 ] || fail "this host is $machine. Guests are x86-64, and their packages and tools are installed for x86-64 hosts only: use such a host, or name a libvirt daemon on one with --uri."
os_release=${WINVM_OS_RELEASE:-/etc/os-release} # tests name another file
[ -r "$os_release" ] || fail "no /etc/os-release: this script knows Debian 12 and newer, Ubuntu 26.04 and newer, Fedora and Arch. Install the packages of vm/host/packages.txt by hand."
. "$os_release"
system=${PRETTY_NAME:-this system}
by_hand="Install what $(pwd)/packages.txt names (QEMU 10, libvirt 11.2, clang 19 or newer), then run: make setup SKIP_HOST=1"
older_than() { [ -n "${VERSION_ID:-}" ] && [ "$(printf '%s\n' "$VERSION_ID" "$1" | sort -V | head -n 1)" != "$1" ]; }
backports=
manager=apt
default=packages.txt
case "${ID:-}" in
    debian)
        ! older_than 12 || fail "$system is too old: its newest QEMU breaks Wine. Use Debian 12 or newer."
        [ "${VERSION_ID:-}" != 12 ] || backports="${VERSION_CODENAME}-backports" ;;
    ubuntu)
        ! older_than 24.04 || fail "$system is too old. Use Ubuntu 26.04 or newer, or Debian 12 or newer, or a container of one."
        ! older_than 26.04 || fail "$system is refused: Ubuntu 24.04 has QEMU 8.2, whose TCG breaks Wine, and libvirt 10.0, which cannot write sparse save files; 10 and 11.2 are needed, and Ubuntu has no backports of them. Use Ubuntu 26.04 or newer, or a container of Debian 13 or newer." ;;
    fedora) manager=dnf; default=packages-fedora.txt ;;
    arch) manager=pacman; default=packages-arch.txt ;;
    *) fail "$system is neither Debian, Ubuntu, Fedora nor Arch. $by_hand" ;;
esac
[ "$manager" = apt ] || [ -z "${1:-}" ] || fail "$system has no list ${1:-}: install what $(pwd)/${1:-} names by hand."

list=${1:-$default}
# Prints the version of a package that is installed.
installed() {
    case "$manager" in
        apt) dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p' ;;
        dnf) rpm -q --whatprovides "$1" 2>/dev/null || true ;;
        pacman) pacman -Q "$1" 2>/dev/null || true ;;
    esac
}
missing=
missing_backports=
elsewhere=
while read -r name _; do
    case "$name" in ''|'#'*) continue ;; esac
    plain=${name#*:}
    have=$(installed "$plain")
    if [ "$name" = "aur:$plain" ]; then # from source, by hand
        [ -n "$have" ] || elsewhere="$elsewhere $plain"
    elif [ "$name" != "$plain" ] && [ -n "$backports" ]; then
        case "$have" in *bpo*) ;; *) missing_backports="$missing_backports $plain" ;; esac
    elif [ -z "$have" ]; then
        missing="$missing $plain"
    fi
done < "$list"

if [ -n "$dry" ]; then
    [ -n "$missing$missing_backports$elsewhere" ] || echo "winvm: $system has every package of $list"
    [ -z "$missing" ] || echo "$manager:$missing"
    [ -z "$missing_backports" ] || echo "$manager, from $backports:$missing_backports"
    [ -z "$elsewhere" ] || echo "the AUR, by hand:$elsewhere"
    exit 0
fi
[ -z "$elsewhere" ] || fail "these packages are in the AUR, not in Arch's repositories:$elsewhere. Install them by hand, then run the same command again."
[ -n "$missing$missing_backports" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "winvm: packages are missing:$missing$missing_backports" >&2
    echo "winvm: installing them needs root. Run this once, then the same command again:" >&2
    sh=; [ -x install.sh ] || sh="sh " # a wheel carries no file modes
    echo "    sudo $sh$(pwd)/install.sh${1:+ $1}" >&2
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

echo "winvm: installing packages, a minute or more:$missing$missing_backports"
# shellcheck disable=SC2086
case "$manager" in
    dnf) logged dnf install -y --setopt=install_weak_deps=False $missing; rm -f "$log"; exit 0 ;;
    pacman) logged pacman -S --needed --noconfirm $missing; rm -f "$log"; exit 0 ;; # -y alone would be half an upgrade
esac
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
