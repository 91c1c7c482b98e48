# syntax=docker/dockerfile:1
# People for the volume of a cluster: the API's image with person directories, and a command that
# installs them after a check of every SHA-256. API_IMAGE: the image of docker/api.Dockerfile.
ARG API_IMAGE
FROM ${API_IMAGE}
LABEL org.opencontainers.image.title="visavis people" \
      org.opencontainers.image.description="Person directories, installed into a volume"
COPY people/ /opt/people/
USER 65532:65532
HEALTHCHECK NONE
CMD ["install-people", "/opt/people", "/people"]
