# The gateway with the echo, openai, claude, gemini and ollama adapters:
#
#   docker build -t one-api .
#   docker run -p 127.0.0.1:8000:8000 -e API_KEYS=sk-choose-one -e OPENAI_API_KEY -e CLAUDE_API_KEY one-api
#
# With local models too (compiles llama.cpp for any x86-64-v3 or ARMv8 machine):
#
#   docker build --build-arg WITH_LLAMACPP=1 -t one-api:llamacpp .
#   docker run -p 127.0.0.1:8000:8000 -e API_KEYS=sk-choose-one \
#     -v "$PWD/models:/models:ro" one-api:llamacpp
#
# The gateway listens on every interface of the container and therefore refuses to start without
# API_KEYS; `docker run … one-api --no-auth` says that this is meant.

ARG PYTHON_VERSION=3.13

# Debian's packages are not pinned: its mirrors keep only the newest of each.
# hadolint global ignore=DL3008

# --- Build: a virtual environment in /opt/one-api, made by tools that stay behind ----------------
FROM python:${PYTHON_VERSION}-slim-trixie AS build
ARG WITH_LLAMACPP=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

RUN if [ "$WITH_LLAMACPP" = 1 ]; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends build-essential \
      && rm -rf /var/lib/apt/lists/*; \
    fi

WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/tools \
    && /opt/tools/bin/python -m pip install --require-hashes -r requirements/build.txt \
    && python -m venv --without-pip /opt/one-api \
    && /opt/tools/bin/pip --python /opt/one-api/bin/python install \
         --require-hashes -r requirements/core.txt

# GGML_NATIVE=OFF: the image may run on another processor than the one that built it.
COPY adapters/llamacpp/build/ adapters/llamacpp/build/
RUN if [ "$WITH_LLAMACPP" = 1 ]; then \
      CMAKE_ARGS="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF \
        -DCMAKE_PROJECT_INCLUDE=/src/adapters/llamacpp/build/nocommon.cmake" \
      /opt/tools/bin/pip --python /opt/one-api/bin/python install \
        --require-hashes -r requirements/llamacpp.txt \
        --build-constraint requirements/llamacpp-build.txt; \
    fi

COPY pyproject.toml README.md LICENSE ./
COPY one_api/ one_api/
COPY adapters/ adapters/
RUN set -- . adapters/echo adapters/openai adapters/claude adapters/gemini adapters/ollama; \
    if [ "$WITH_LLAMACPP" = 1 ]; then set -- "$@" adapters/llamacpp; fi; \
    for package in "$@"; do \
      /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels "./$package" \
      || exit 1; \
    done \
    && /opt/tools/bin/pip --python /opt/one-api/bin/python install --no-deps --no-index /wheels/*.whl \
    && /opt/tools/bin/pip --python /opt/one-api/bin/python check

# --- Run -----------------------------------------------------------------------------------------
FROM python:${PYTHON_VERSION}-slim-trixie
ARG WITH_LLAMACPP=0

# libgomp1 is llama.cpp's thread pool.
RUN set -- ca-certificates; \
    if [ "$WITH_LLAMACPP" = 1 ]; then set -- "$@" libgomp1; fi; \
    apt-get update \
    && apt-get install --yes --no-install-recommends "$@" \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin one-api \
    && install --directory --owner one-api --group one-api /data \
    && mkdir /models

COPY --from=build /opt/one-api /opt/one-api

# GOMP_SPINCOUNT: without a bound, llama.cpp's threads spin at every barrier while they wait for
# each other, and on a shared machine that burns whole time slices.
ENV PATH=/opt/one-api/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    LOCAL_MODELS_DIR=/models \
    GOMP_SPINCOUNT=3000

USER 10001
WORKDIR /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=3); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["one-api", "serve"]
