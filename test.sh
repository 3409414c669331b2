#!/bin/sh
# Installs what is missing, builds everything and passes the tests; arguments go to
# ctest. Wants Debian 12 and root or sudo.
set -eu
cd "$(dirname "$0")"

./scripts/install-packages.sh build client test
./scripts/build.sh -DH5SERVE_BUILD_TESTS=ON
exec ctest --test-dir build/release --output-on-failure -j "$(nproc)" "$@"
