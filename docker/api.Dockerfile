# syntax=docker/dockerfile:1
# The HTTP API, and the one-shot commands `migrate`, `create-bucket` and `keys`. No torch.
#
# PYTHON_IMAGE is required: name, tag and digest (docker/make-env writes it to .env).
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# A mirror of the Python index; without it, pip's default. A mirror serves the same pinned versions.
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
RUN python -m venv /opt/visavis
COPY pyproject.toml constraints.txt ./
COPY docker/requirements.py docker/
RUN python docker/requirements.py api postgres s3 traces > /tmp/requirements.txt \
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
# Software bill of materials, by a tool outside the image's environment.
COPY docker/sbom-requirements.txt docker/
RUN python -m venv /tmp/sbom \
 && PIP_CONSTRAINT='' /tmp/sbom/bin/pip install -r docker/sbom-requirements.txt \
 && /tmp/sbom/bin/cyclonedx-py environment /opt/visavis/bin/python \
      --output-file /opt/visavis/sbom.cdx.json

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="visavis API" \
      org.opencontainers.image.description="HTTP API that turns the audio of a conversation into video" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 65532 visavis \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/visavis \
      --shell /usr/sbin/nologin visavis \
 && install -d -o 65532 -g 65532 /var/lib/visavis
COPY --from=build /opt/visavis /opt/visavis
ENV PATH=/opt/visavis/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/visavis \
    TMPDIR=/tmp \
    VISAVIS_DATA=/var/lib/visavis \
    VISAVIS_PEOPLE=/people \
    VISAVIS_HOST=0.0.0.0 \
    VISAVIS_METRICS_HOST=0.0.0.0 \
    VISAVIS_LOG_FORMAT=json
# The only writable paths: uploads during their probe, and local data. The rest may be read-only.
VOLUME ["/tmp", "/var/lib/visavis"]
WORKDIR /var/lib/visavis
USER 65532:65532
EXPOSE 8000 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["api-alive"]
ENTRYPOINT ["visavis-server"]
CMD ["api"]
