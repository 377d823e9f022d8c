# docker build -t nerfstudio-talking .                                 for CPUs
# docker build -t nerfstudio-talking:cuda --build-arg DEVICE=cuda .    for NVIDIA GPUs, with nvcc for gsplat's kernels
ARG DEVICE=cpu
ARG CPU_IMAGE=python:3.11-slim-bookworm
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu22.04

FROM ${CPU_IMAGE} AS base-cpu
ENV TORCH_INDEX="--index-url https://download.pytorch.org/whl/cpu"

# Ubuntu 22.04 has Python 3.10; torch's plain wheels are those for CUDA 13.0
FROM ${CUDA_IMAGE} AS base-cuda
ENV TORCH_INDEX="" TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9;9.0"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# hadolint ignore=DL3006
FROM base-${DEVICE} AS final
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# g++: two dependencies of nerfstudio build from source; libGL, glib, libusb: OpenCV and open3d load them
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg g++ libegl1 libgl1 libglib2.0-0 libgomp1 libusb-1.0-0 \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH}

WORKDIR /opt/nerfstudio-talking
COPY pyproject.toml constraints.txt README.md LICENSE ./
# torch first, from the index that fits the device, in the pinned versions; pip takes it as it is afterwards
# hadolint ignore=DL3013,SC2046,SC2086
RUN pip install --no-cache-dir ${TORCH_INDEX} $(grep -E '^(torch|torchvision)==' constraints.txt | cut -d' ' -f1)
COPY nerfstudio_talking nerfstudio_talking
RUN pip install --no-cache-dir -c constraints.txt ".[serve,speech,provenance]"

# data and outputs come from the host: docker run --rm -v "$PWD:/work" ...
# hadolint ignore=DL3059
RUN useradd --create-home --uid 1000 user
USER 1000
WORKDIR /work
ENV OMP_WAIT_POLICY=PASSIVE
CMD ["ns-talking", "--help"]
