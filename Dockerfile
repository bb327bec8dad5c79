# syntax=docker/dockerfile:1
# The page on a server of one's own, without a network when it runs; docs/deploy.md says how to run it.
#   docker build -t brain-tumor .

FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements.txt /tmp/
# PyTorch first and from its own index: PyPI's build brings gigabytes of CUDA. Empty, the argument takes PyPI's.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN grep '^torch' /tmp/requirements.txt > /tmp/torch.txt \
 && /venv/bin/pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r /tmp/torch.txt
RUN /venv/bin/pip install -r /tmp/requirements.txt

FROM python:3.12-slim
COPY --from=build /venv /venv
WORKDIR /app
COPY LICENSE app.py ./
COPY brain_tumor brain_tumor
COPY weights weights
COPY docs docs
# All that is written when it runs goes to /tmp: the rest may be read-only.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    GRADIO_TEMP_DIR=/tmp/gradio \
    GRADIO_ANALYTICS_ENABLED=False \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    HF_HUB_OFFLINE=1
# An image that cannot answer is not built: weights that were not fetched, a library that is missing.
RUN python -m compileall -q . \
 && python -m brain_tumor classify brain_tumor/examples/*.png \
 && rm -rf /tmp/matplotlib
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 \
    CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$GRADIO_SERVER_PORT', timeout=8)"
CMD ["python", "app.py"]
