#!/bin/sh
# Installs what is missing, builds the binary and compares it with what real
# Keras predicted. `./test.sh all` builds and runs every test. Wants Debian 12
# and root or sudo.
set -eu
cd "$(dirname "$0")"

./scripts/install-packages.sh build client test
if [ "${1:-}" = all ]; then
  ./scripts/build.sh -DH5SERVE_BUILD_TESTS=ON -DH5SERVE_WERROR=OFF
  exec ctest --test-dir build/release --output-on-failure -j "$(nproc)"
fi
./scripts/build.sh -DH5SERVE_BUILD_TESTS=ON -DH5SERVE_WERROR=OFF -- h5serve
exec ctest --test-dir build/release --output-on-failure -L verified
