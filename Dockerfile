# One image for every program of Twintide; the command says which one runs.
#   docker build -t twintide .
#
# Torch comes as pip finds it, which on x86 means with CUDA (3 GB). For machines without a GPU name
# the index of PyTorch's builds for CPUs, as their installation page gives it:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=ADDRESS -t twintide .
# The pins stay the same: 2.15.0 also means 2.15.0+cpu, and pip prefers that.

FROM python:3.11-slim AS build
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY twintide twintide
COPY streaming streaming
COPY trainer trainer
COPY publisher publisher
COPY serving serving
COPY evaluation evaluation
COPY demo demo
COPY console console
COPY clickworld clickworld
COPY configs configs
# The folder names are generic, so Twintide gets an environment of its own.
RUN python -m venv /opt/twintide \
 && pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && /opt/twintide/bin/pip install --no-cache-dir --constraint constraints.txt /wheels/*.whl

FROM python:3.11-slim
# libgomp: faiss and torch compute with it.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin twintide \
 && install -d -o twintide -g twintide \
    /data /data/stream /data/slices /data/checkpoints /data/versions /data/versions.vectors \
    /data/versions.items \
    /data/curves
COPY --from=build /opt/twintide /opt/twintide
ENV PATH=/opt/twintide/bin:$PATH \
    HOME=/tmp \
    OMP_WAIT_POLICY=PASSIVE \
    PYTHONUNBUFFERED=1
USER twintide
WORKDIR /data
ENTRYPOINT ["twintide"]
CMD ["--help"]
