# Both images of MailSync, from the same lock file:
#
#   docker build --target operator -t mailsync-operator .
#   docker build --target syncjob  -t mailsync-syncjob  .
#
# podman and buildah build it too: nothing here needs BuildKit.

# The interpreter, in the build and in the result. Any glibc image with Python 3.11 or later will do.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
# The same interpreter with the venv module, where BASE itself has none (Debian's own python3).
ARG BUILD_BASE=${BASE}

# ---- uv, which installs what uv.lock says --------------------------------------------------------
FROM ${BUILD_BASE} AS build
# The Makefile's UV_VERSION; a test compares them.
ARG UV_VERSION=0.13.9
# What a network may need: a package index of its own, a proxy's certificate authority. They are
# variables of the build stages' commands only and no part of the images. They are repeated in each
# stage because builders differ in whether a stage inherits them.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CERT
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/python -m pip install --no-cache-dir --disable-pip-version-check "uv==${UV_VERSION}"
ENV UV_PROJECT_ENVIRONMENT=/opt/mailsync \
    UV_PYTHON_DOWNLOADS=never \
    UV_PYTHON_PREFERENCE=only-system \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_PROGRESS=1
WORKDIR /src

# ---- the dependencies of each image: these stay as they are while only MailSync's code changes ---
FROM build AS dependencies-operator
ARG UV_DEFAULT_INDEX
ARG UV_INDEX
ARG SSL_CERT_FILE
ARG UV_CACHE_DIR=/root/.cache/uv
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-install-project --extra operator

FROM build AS dependencies-syncjob
ARG UV_DEFAULT_INDEX
ARG UV_INDEX
ARG SSL_CERT_FILE
ARG UV_CACHE_DIR=/root/.cache/uv
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-install-project --extra syncjob

# ---- MailSync itself, laid out as in the environment that it is copied into ----------------------
FROM build AS project
ARG UV_DEFAULT_INDEX
ARG UV_INDEX
ARG SSL_CERT_FILE
ARG UV_CACHE_DIR=/root/.cache/uv
RUN /opt/uv/bin/uv venv --quiet /opt/mailsync
COPY pyproject.toml README.md LICENSE ./
COPY crds crds
COPY operator operator
COPY syncjob syncjob
RUN /opt/uv/bin/uv pip install --python /opt/mailsync/bin/python --no-deps --prefix /opt/project .

# ---- stunnel, for the tunnels of the sync engine's pods --------------------------------------------
FROM ${BASE} AS stunnel
# Debian's package wants perl for a script that nothing here runs: only the program is taken, and
# those of its libraries that the base image does not have.
RUN ls /usr/lib/*-linux-gnu > /tmp/before \
 && apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends stunnel4 \
 && mkdir -p /opt/stunnel \
 && cp --parents /usr/bin/stunnel4 /usr/share/doc/stunnel4/copyright /opt/stunnel \
 && ldd /usr/bin/stunnel4 | sed -n 's|.* => \(/usr\)\{0,1\}\(/lib/[^ ]*\) .*|/usr\2|p' \
  | while read -r library; do \
      grep -qx "${library##*/}" /tmp/before || cp -L --parents "${library}" /opt/stunnel; \
    done

# ---- what both results share ---------------------------------------------------------------------
FROM ${BASE} AS runtime
# Nothing in a running container installs software, so what could is removed. The user has a name
# because Python's getpass looks it up.
RUN rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip \
      /usr/local/bin/pip* /usr/local/bin/wheel* \
 && echo 'mailsync:x:65532:65532:MailSync:/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'mailsync:x:65532:' >> /etc/group
# Bytecode is compiled in the build; at run time the root file system is read-only.
ENV PATH=/opt/mailsync/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 65532:65532

# ---- the sync engine: runs in the pod of each MailSync's Job -------------------------------------
FROM runtime AS syncjob
LABEL org.opencontainers.image.title="MailSync engine" \
      org.opencontainers.image.description="Copies one mailbox from an IMAP server to another" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=stunnel /opt/stunnel /
COPY --from=dependencies-syncjob /opt/mailsync /opt/mailsync
COPY --from=project /opt/project /opt/mailsync
ENTRYPOINT ["mailsync-job"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# ---- the operator --------------------------------------------------------------------------------
FROM runtime AS operator
LABEL org.opencontainers.image.title="MailSync operator" \
      org.opencontainers.image.description="Runs a Job for each MailSync and reports on it" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=dependencies-operator /opt/mailsync /opt/mailsync
COPY --from=project /opt/project /opt/mailsync
ENTRYPOINT ["mailsync-operator"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
