# Suu-Aba in a container: docker build -t suuaba .   For both kinds of machine:
#     docker buildx build --platform linux/amd64,linux/arm64 -t suuaba .
# The versions are those of constraints.txt. Without an argument it runs the demo.

FROM debian:bookworm-slim AS build
# A stable Debian changes for safety's sake only, and throws the versions before away: none is pinned
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY . /source
WORKDIR /source
RUN python3 -m venv /pip \
 && python3 -m venv --without-pip /opt/suuaba \
 && { /pip/bin/python deploy/build_hook.py || true; } \
 && /pip/bin/pip --python /opt/suuaba/bin/python install --no-cache-dir --only-binary :all: --no-binary suuaba \
      --constraint constraints.txt /source

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Suu-Aba" \
      org.opencontainers.image.description="Gateway for water and air monitoring" \
      org.opencontainers.image.licenses="MIT"
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates openssl python3 tzdata \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
 && groupadd --gid 10001 suuaba \
 && useradd --uid 10001 --gid suuaba --groups dialout --home-dir /var/lib/suuaba --create-home --shell /usr/sbin/nologin suuaba
COPY --from=build /opt/suuaba /opt/suuaba
COPY deploy/certificates.sh deploy/docker/prepare.py deploy/docker/demo.toml deploy/docker/collector.toml /usr/share/suuaba/
COPY deploy/mosquitto /usr/share/suuaba/mosquitto
ENV PATH=/opt/suuaba/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/suuaba
VOLUME /var/lib/suuaba
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["suuaba"]
CMD ["demo"]
