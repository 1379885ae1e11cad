# kiroproxy as a container. docs/operations.md says how to run it; tests/flows/test_container.py runs the
# commands below as they stand here, and checks the rules that they follow.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY kiroproxy ./kiroproxy
RUN python3 -m venv /opt/kiroproxy
RUN /opt/kiroproxy/bin/python -m pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt .

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 kiroproxy \
    && useradd --uid 10001 --gid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin kiroproxy \
    && install -d -o 10001 -g 10001 -m 0700 /app/config /app/data
COPY --from=build /opt/kiroproxy /opt/kiroproxy

# Listening everywhere is what a container is for; the port stays the configuration's (8080 without
# one). The files lie in a directory: a file that is mounted by itself cannot be replaced, and
# rotated tokens are written by replacing credentials.json.
ENV PATH=/opt/kiroproxy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KIROPROXY_HOST=0.0.0.0 \
    KIROPROXY_CONFIG=/app/config/config.json \
    KIROPROXY_CREDENTIALS=/app/config/credentials.json

WORKDIR /app
USER 10001:10001
VOLUME ["/app/config", "/app/data"]
EXPOSE 8080 8990
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["kiroproxy", "health"]
ENTRYPOINT ["tini", "--", "kiroproxy"]
CMD ["serve"]
