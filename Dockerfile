# The worker: locked packages, not root. Topics and schema are made by `marketlag topics` and
# `marketlag migrate` in the same image; deploy/compose.yaml does both.
#
# Debian's own Python, and nothing that is not in this file: every step can be tried in a clean root
# without a container engine (tests/operations/test_image.py does).
FROM debian:bookworm-slim AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/worker.txt requirements/build.txt requirements/
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && python3 -m venv /opt/marketlag \
    && /opt/marketlag/bin/pip install --no-cache-dir --require-hashes -r requirements/worker.txt
COPY pyproject.toml README.md LICENSE ./
COPY marketlag marketlag/
COPY agents agents/
COPY tables tables/
COPY producers producers/
COPY migrations migrations/
RUN /opt/build/bin/hatchling build -t wheel -d dist \
    && /opt/marketlag/bin/pip install --no-cache-dir --no-deps dist/*.whl \
    && /opt/marketlag/bin/pip uninstall --yes pip setuptools

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 marketlag \
    && install --directory --owner=marketlag /var/lib/marketlag
COPY --from=build /opt/marketlag /opt/marketlag
ENV PATH=/opt/marketlag/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    MARKETLAG_DATADIR=/var/lib/marketlag
USER 10001
WORKDIR /home/marketlag
VOLUME /var/lib/marketlag
EXPOSE 6066
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as web; web.urlopen(f\"http://127.0.0.1:{os.environ.get('MARKETLAG_WEB_PORT', '6066')}/healthz\", timeout=4)"]
CMD ["faust", "-A", "marketlag", "worker", "-l", "info"]
