# The environment of requirements.lock; the clone is mounted (docs/how-to/module.md).
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /tmp/requirements.lock
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r /tmp/requirements.lock
ENV OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 HOME=/tmp
