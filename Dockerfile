# Images of the agent and the controller, two targets of one file:
#
#   docker build --target agent      -t registry.example.org/safetytwin/agent:0.1.0 .
#   docker build --target controller -t registry.example.org/safetytwin/controller:0.1.0 .
#
# `make images` builds both without Docker, with BINARIES=prebuilt from binaries in dist/ and with
# bases of its own.

# Rust and Debian of the same release as the runtime base, so that libc and libvirt fit.
ARG BUILD_BASE=rust:1.95-bookworm
# The controller needs libc6, libgcc and libvirt0, which is installed here when the base lacks it; the agent nothing.
ARG RUNTIME_BASE=debian:bookworm-slim
# compiled: in this build. prebuilt: dist/twin-agent, dist/twin-agent-ptrace and dist/twin.
ARG BINARIES=compiled

FROM ${BUILD_BASE} AS compiled
RUN apt-get update \
 && apt-get install -y --no-install-recommends libvirt-dev musl-tools pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN make agent \
 && cargo build --release --locked -p safetytwin --features libvirt \
 && mkdir /out && cp target/*-musl/release/twin-agent target/*-musl/release/twin-agent-ptrace target/release/twin /out/

FROM scratch AS prebuilt
COPY dist/ /out/

FROM ${BINARIES} AS binaries

FROM ${RUNTIME_BASE} AS agent
COPY --from=binaries /out/twin-agent /out/twin-agent-ptrace /usr/local/bin/
# Root without capabilities: unit files may be readable by root only. The chart drops the rest.
USER 0:0
ENTRYPOINT ["/usr/local/bin/twin-agent"]

FROM ${RUNTIME_BASE} AS controller
RUN set -- /usr/lib/*/libvirt.so.0; test -e "$1" \
 || { apt-get update && apt-get install -y --no-install-recommends libvirt0 && rm -rf /var/lib/apt/lists/*; }
COPY --from=binaries /out/twin /usr/local/bin/twin
# libvirt's client looks its user up.
RUN echo 'twin:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/twin"]
CMD ["controller"]
