# syntax=docker/dockerfile:1
# One worker. CUDA libraries come with the wheels; the driver comes from the host (NVIDIA Container
# Toolkit). `--build-arg TORCH=cpu` builds the smaller image for machines without a GPU.
#
# PYTHON_IMAGE is required: name, tag and digest (docker/make-env writes it to .env).
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# A mirror of the Python index; without it, pip's default. A mirror serves the same pinned versions.
ARG PIP_INDEX_URL
# cuda: the default wheel of torch. cpu: the wheel of the index in TORCH_INDEX.
ARG TORCH=cuda
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
RUN python -m venv /opt/visavis
COPY pyproject.toml constraints.txt ./
COPY docker/requirements.py docker/
RUN case "${TORCH}" in \
      cuda) ;; \
      cpu) export PIP_EXTRA_INDEX_URL="${TORCH_INDEX}" ;; \
      *) echo "TORCH: invalid value ${TORCH}; use cuda or cpu" >&2; exit 2 ;; \
    esac \
 && python docker/requirements.py worker postgres s3 traces bulk > /tmp/requirements.txt \
 && /opt/visavis/bin/pip install -r /tmp/requirements.txt
COPY README.md LICENSE NOTICE ./
COPY api/ api/
COPY bench/ bench/
COPY cli/ cli/
COPY contracts/ contracts/
COPY docs/ docs/
COPY jobs/ jobs/
COPY models/ models/
COPY training/ training/
COPY worker/ worker/
RUN /opt/visavis/bin/pip install --no-deps .
COPY docker/entry/ /opt/visavis/bin/
# Kernels for CPUs with AVX2 and, with CUDA, for A100, H100 and B200: a worker compiles nothing.
RUN case "${TORCH}" in cuda) set -- 80 90 100 ;; *) set -- ;; esac \
 && WARP_CACHE_PATH=/opt/visavis/kernels \
      /opt/visavis/bin/python -P -m models.avatar.raster.compiled --arch "$@"
# Software bill of materials, by a tool outside the image's environment.
COPY docker/sbom-requirements.txt docker/
RUN python -m venv /tmp/sbom \
 && PIP_CONSTRAINT='' /tmp/sbom/bin/pip install -r docker/sbom-requirements.txt \
 && /tmp/sbom/bin/cyclonedx-py environment /opt/visavis/bin/python \
      --output-file /opt/visavis/sbom.cdx.json

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="visavis worker" \
      org.opencontainers.image.description="Worker that turns the audio of a conversation into video" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 65532 visavis \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/visavis \
      --shell /usr/sbin/nologin visavis \
 && install -d -o 65532 -g 65532 /var/lib/visavis /var/cache/visavis
COPY --from=build /opt/visavis /opt/visavis
ENV PATH=/opt/visavis/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/visavis \
    TMPDIR=/tmp \
    WARP_CACHE_PATH=/opt/visavis/kernels \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/visavis/inductor \
    TRITON_CACHE_DIR=/var/cache/visavis/triton \
    CUDA_CACHE_PATH=/var/cache/visavis/cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    VISAVIS_DATA=/var/lib/visavis \
    VISAVIS_SCRATCH=/var/lib/visavis/scratch \
    VISAVIS_PEOPLE=/people \
    VISAVIS_METRICS_HOST=0.0.0.0 \
    VISAVIS_LOG_FORMAT=json
# The only writable paths: temporary files, the running job, and what torch and CUDA compile (the
# rasteriser's kernels are in the image). The rest may be read-only.
VOLUME ["/tmp", "/var/lib/visavis", "/var/cache/visavis"]
WORKDIR /var/lib/visavis
USER 65532:65532
STOPSIGNAL SIGTERM
EXPOSE 9464
HEALTHCHECK --interval=20s --timeout=5s --start-period=120s CMD ["worker-alive"]
ENTRYPOINT ["visavis-server"]
CMD ["worker"]
