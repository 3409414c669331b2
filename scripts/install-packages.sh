#!/bin/sh
# install-packages.sh LIST…: installs the Debian packages that the named files of
# scripts/packages list, one a line. Does nothing when all are there.
set -eu
cd "$(dirname "$0")/packages"

missing=
for package in $(for list; do cat "$list.txt"; done | sort -u); do
  case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
    'install ok installed') ;;
    *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=env
elif command -v sudo >/dev/null; then
  as_root='sudo env'
else
  echo "neither root nor sudo; as root, run: apt-get install$missing" >&2
  exit 1
fi
echo "Installing:$missing"
# Waits for another apt rather than failing, and never asks.
apt="$as_root DEBIAN_FRONTEND=${DEBIAN_FRONTEND:-noninteractive} apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -qq -o Dpkg::Use-Pty=0"
$apt update
# shellcheck disable=SC2086
$apt install -y --no-install-recommends $missing </dev/null
