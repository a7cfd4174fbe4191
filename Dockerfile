# Pointsman over HTTP, for a team: docs/guides/many-servers.md. The packages are those of requirements-team.txt, by hash.
FROM python:3.13-slim AS packages
COPY requirements-team.txt /tmp/
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement /tmp/requirements-team.txt

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 POINTSMAN_HOME=/var/lib/pointsman POINTSMAN_LOG_FORMAT=json
RUN useradd --system --uid 10001 --home-dir /var/lib/pointsman --create-home pointsman
COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/pointsman
COPY server.py serving.py composition.py cli.py registry.json ./
COPY access ./access
COPY hosts ./hosts
COPY routing ./routing
COPY tools ./tools
USER 10001
VOLUME /var/lib/pointsman
EXPOSE 8484
# Its Host is this machine's: the server answers to no other name but POINTSMAN_ALLOWED_HOSTS.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8484/healthz', timeout=2)"]
# SIGTERM drains: give it POINTSMAN_DRAIN_SECONDS and ten more before it is killed.
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "server.py"]
CMD ["--transport", "streamable-http", "--host", "0.0.0.0", "--port", "8484"]
