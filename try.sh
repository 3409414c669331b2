#!/bin/sh
# try.sh: installs what is missing, builds, serves the sample models and asks
# for one prediction. Wants Debian 12 and root or sudo.
# try.sh stop: stops the daemon that it left running.
set -eu
cd "$(dirname "$0")"

run=build/try
daemon=build/release/server/h5serve
grpc=127.0.0.1:8500
http=127.0.0.1:8501

# Ends the daemon of an earlier run, and nothing else that may have got its id.
stop() {
  [ -f $run/pid ] || return 0
  pid=$(cat $run/pid)
  if [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$(realpath $daemon)" ]; then
    kill "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.1; done
    echo "h5serve stopped"
  fi
  rm -f $run/pid
}

if [ "${1:-}" = stop ]; then
  stop
  exit
fi

./scripts/install-packages.sh build client
stop  # before its executable is replaced
./scripts/build.sh -DH5SERVE_BUILD_TESTS=OFF -- h5serve

mkdir -p $run/models
cp -p samples/models/*.h5 $run/models/
setsid $daemon serve --models $run/models --listen $grpc --http $http \
  </dev/null >$run/log 2>&1 &
echo $! >$run/pid

if ! /usr/bin/python3 samples/predict_digit.py --connect $grpc --wait 30; then
  echo "h5serve did not answer; its log:" >&2
  cat $run/log >&2
  exit 1
fi

cat <<TEXT

h5serve is running (process $(cat $run/pid), log in $run/log)
and serves the models of $run/models. Try next:

  ./try.sh stop                              stop it
  samples/predict_digit.py --digit 3         ask for another digit
  http://$http/                     what is served, in a browser
  curl http://$http/metrics         metrics, among them every load and refusal
  cp YOUR.h5 $run/models/             serve your model, without a restart
  $daemon check YOUR.h5
                                             can it be served, and if not, why
  $daemon summary samples/models/digits.h5
                                             what a file holds
  README.md, docs/architecture.md            what else there is
TEXT
