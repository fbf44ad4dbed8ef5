# docker build --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" --tag ecs-deployd .
# docker buildx build --platform linux/amd64,linux/arm64 ...    for both processors
#
# BuildKit is needed (the default since Docker 23): the cache mounts keep the compiled dependencies between builds.

# The builder runs on the processor of the machine that builds, and compiles for the one that the image is for: nothing is emulated.
FROM --platform=$BUILDPLATFORM rust:1.95-slim-bookworm AS build
ARG BUILDARCH
ARG TARGETARCH
RUN if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
        case "$TARGETARCH" in \
            amd64) target=x86_64-unknown-linux-gnu; packages="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; \
            arm64) target=aarch64-unknown-linux-gnu; packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; \
            *) echo "there is no build for $TARGETARCH, only for amd64 and arm64" >&2; exit 1 ;; \
        esac \
        && apt-get update && apt-get install --yes --no-install-recommends $packages && rm -rf /var/lib/apt/lists/* \
        && rustup target add "$target"; \
    fi
WORKDIR /build
COPY . .
# The build context has no .git: the commit that --version and the metric build_info tell is given.
ARG COMMIT=unknown
# Another profile of Cargo.toml compiles faster, for a test of the image.
ARG PROFILE=release
# Packed relocations (DT_RELR) make the program 0.8 MB smaller, on the disk and in memory; glibc knows them since 2.36, which is bookworm's.
# local-aws and packaging are members of the workspace, so cargo wants to see them; they are not built.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    if [ "$TARGETARCH" = "$BUILDARCH" ]; then target=; else \
        case "$TARGETARCH" in amd64) target=x86_64-unknown-linux-gnu ;; arm64) target=aarch64-unknown-linux-gnu ;; esac; \
    fi \
    && CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc ECS_DEPLOYD_COMMIT="$COMMIT" \
        RUSTFLAGS="-C link-arg=-Wl,-z,pack-relative-relocs" \
        cargo build --profile "$PROFILE" --locked --package ecs-deployd --bin ecs-deployd ${target:+--target "$target"} \
    && cp "target/${target:+$target/}$PROFILE/ecs-deployd" /ecs-deployd \
    && mkdir --mode=0700 /state /control

# The program is linked to glibc and libgcc and reads the CA certificates of /etc/ssl/certs at its start; distroless/cc has
# these three and little else: no shell, no package manager, nothing to keep patched for its own sake. bookworm-slim with
# ca-certificates would do as well and is larger, for tools that nothing here runs. For glibc's sake this image must be of
# the Debian release that the builder is of, or of a newer one.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="ecs-deployd" \
      org.opencontainers.image.description="Rolls Amazon ECS services to the image that was just pushed to Amazon ECR, with no downtime" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"

COPY --from=build /ecs-deployd /usr/local/bin/ecs-deployd
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/ecs-deployd/

# The state. The folder is made here, before VOLUME, so that an empty volume takes over its owner and mode: Docker and ECS
# (bind mounts without a host path) copy them. A volume that has an owner already, such as EFS, needs to give it to 65532:
# with EFS, an access point with that POSIX user. The root file system can be read-only.
COPY --from=build --chown=65532:65532 --chmod=0700 /state /var/lib/ecs-deployd
# The control socket: `docker exec CONTAINER ecs-deployd hold CLUSTER/SERVICE`. Nothing in it is worth keeping.
COPY --from=build --chown=65532:65532 --chmod=0750 /control /run/ecs-deployd
VOLUME ["/var/lib/ecs-deployd", "/run/ecs-deployd"]

# A number, so that a check for "not root" need not read /etc/passwd. It is the one that distroless calls nonroot.
USER 65532:65532

# The configuration is /etc/ecs-deployd/config.toml, which is not in the image: mount it, or give its text in
# ECS_DEPLOYD_CONFIG_CONTENT.
#
# Metrics and health are served on 127.0.0.1:9797 unless [http] listen says otherwise. That is enough for the check below and,
# in a task with the network mode awsvpc, for the other containers of the task: they share its loopback. For a Prometheus
# outside set listen = "0.0.0.0:9797"; the check still works.
EXPOSE 9797
# There is no shell or curl to ask with, so the program asks its own /healthz. ECS ignores this line: put the same command
# into the task definition's healthCheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/ecs-deployd", "health"]

# A clean stop takes up to 15 seconds, the time to write the state, and up to 10 seconds for the last notifications:
# `docker stop --time 30`. The default stopTimeout of ECS,
# 30 seconds, is enough.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/ecs-deployd"]
CMD ["run"]
