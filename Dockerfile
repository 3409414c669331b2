# docker build -t h5serve .
# docker run --read-only -v "$PWD/models:/models:ro" -p 8500:8500 -p 8501:8501 h5serve
FROM debian:bookworm-slim AS build
WORKDIR /source
COPY scripts/packages/build.txt scripts/install-packages.sh scripts/packages/
RUN mv scripts/packages/install-packages.sh scripts/ && scripts/install-packages.sh build
COPY . .
RUN cmake --preset release -DH5SERVE_BUILD_TESTS=OFF -DH5SERVE_BUILD_BENCHMARKS=OFF \
 && cmake --build build/release -j "$(nproc)" --target h5serve \
 && strip build/release/server/h5serve

FROM debian:bookworm-slim
COPY scripts/packages/runtime.txt scripts/install-packages.sh /tmp/scripts/packages/
RUN mv /tmp/scripts/packages/install-packages.sh /tmp/scripts/ \
 && /tmp/scripts/install-packages.sh runtime \
 && rm -rf /tmp/scripts /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin h5serve \
 && mkdir /models
COPY --from=build /source/build/release/server/h5serve /usr/local/bin/h5serve
USER 10001:10001
# In a container the network is the container's own.
ENV H5SERVE_MODELS=/models \
    H5SERVE_LISTEN=0.0.0.0:8500 \
    H5SERVE_HTTP_LISTEN=0.0.0.0:8501
EXPOSE 8500 8501
ENTRYPOINT ["h5serve"]
CMD ["serve"]
