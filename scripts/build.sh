#!/bin/sh
# build.sh BUILD_TYPE_ARGUMENTS… -- TARGETS…: configures build/release and builds
# the targets (all without any). try.sh and test.sh share the objects.
set -eu
cd "$(dirname "$0")/.."

arguments=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  arguments="$arguments $1"
  shift
done
[ $# -gt 0 ] && shift

# shellcheck disable=SC2086
cmake --preset release -DH5SERVE_BUILD_BENCHMARKS=OFF $arguments
echo "Building with $(nproc) jobs"
if [ $# -gt 0 ]; then
  cmake --build build/release -j "$(nproc)" --target "$@"
else
  cmake --build build/release -j "$(nproc)"
fi
