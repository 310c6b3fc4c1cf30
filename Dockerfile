# The worker: locked dependencies, not root. Topics and schema are made by
# `docker run IMAGE marketlag topics` and `... marketlag migrate`.
FROM python:3.11-slim AS build
COPY requirements/worker.txt requirements/build.txt /build/requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r /build/requirements/build.txt \
    && python -m venv /opt/marketlag \
    && /opt/marketlag/bin/pip install --no-cache-dir --require-hashes -r /build/requirements/worker.txt
COPY . /build
RUN cd /build \
    && /opt/build/bin/hatchling build -t wheel -d /build/dist \
    && /opt/marketlag/bin/pip install --no-cache-dir --no-deps /build/dist/*.whl

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 marketlag && install -d -o marketlag /var/lib/marketlag
COPY --from=build /opt/marketlag /opt/marketlag
ENV PATH=/opt/marketlag/bin:$PATH MARKETLAG_DATADIR=/var/lib/marketlag
USER marketlag
WORKDIR /home/marketlag
VOLUME /var/lib/marketlag
CMD ["faust", "-A", "marketlag", "worker", "-l", "info", "--without-web"]
