# syntax=docker/dockerfile:1
# Training (`python -m training`). CUDA libraries come with the wheels, the driver from the host.
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
 && python docker/requirements.py worker training plots tensorboard s3 > /tmp/requirements.txt \
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
# Software bill of materials, by a tool outside the image's environment.
COPY docker/sbom-requirements.txt docker/
RUN python -m venv /tmp/sbom \
 && PIP_CONSTRAINT='' /tmp/sbom/bin/pip install -r docker/sbom-requirements.txt \
 && /tmp/sbom/bin/cyclonedx-py environment /opt/visavis/bin/python \
      --output-file /opt/visavis/sbom.cdx.json

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="visavis training" \
      org.opencontainers.image.description="Trains the networks of a person" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 65532 visavis \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /work \
      --shell /usr/sbin/nologin visavis \
 && install -d -o 65532 -g 65532 /work /var/cache/visavis
COPY --from=build /opt/visavis /opt/visavis
ENV PATH=/opt/visavis/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/work \
    TMPDIR=/tmp \
    WARP_CACHE_PATH=/var/cache/visavis/warp \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/visavis/inductor \
    TRITON_CACHE_DIR=/var/cache/visavis/triton \
    CUDA_CACHE_PATH=/var/cache/visavis/cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# The only writable paths: temporary files, data and people, and compiled kernels.
VOLUME ["/tmp", "/work", "/var/cache/visavis"]
WORKDIR /work
USER 65532:65532
# A training run ends by itself; its exit status is its health.
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
