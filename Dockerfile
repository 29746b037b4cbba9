# One image for the whole service in one container, and for web and workers of a cluster: docs/operations.md.

# The library that recompresses JPEGs, with the one of libjpeg-turbo that it needs; the compiler stays here.
FROM python:3.13-slim AS native
RUN apt-get update -qq \
    && apt-get install -qq --no-install-recommends gcc libc6-dev libjpeg62-turbo-dev >/dev/null
COPY processing/compress/native/requantise.c scripts/build-native ./
RUN ./build-native requantise.c /native/requantise.so \
    && cp --dereference /usr/lib/*-linux-gnu/libjpeg.so.62 /native/

FROM python:3.13-slim AS build
# Without pip: that of the base image installs into it, and does not come along.
RUN python -m venv --without-pip /opt/venv
# With `--build-arg LOCK=requirements-extras.lock` traces, error reports and HEIC come along.
ARG LOCK=requirements.lock
COPY $LOCK .
RUN python -m pip --python /opt/venv/bin/python install -qq --no-cache-dir --disable-pip-version-check \
    --require-hashes -r $LOCK
# A third of what that installs is never read: Amazon's other services, Django in other languages, tests.
RUN cd /opt/venv/lib/python3.13/site-packages \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name 'sso*' ! -name sts -exec rm -r {} + \
    && find django -path '*/locale/*' -type d ! -path '*/locale/en*' -prune -exec rm -r {} + \
    && find . -type d -name tests -prune -exec rm -r {} +
COPY --from=native /native /opt/venv/lib/
WORKDIR /app
COPY . .
# The addresses only choose the settings of a cluster; nothing is connected to.
RUN SECRET_KEY=for-collecting-static-files-alone-0123456789-0123456789 PUBLIC_URL=http://unused \
    DATABASE_URL=postgresql://unused/unused REDIS_URL=redis://unused \
    /opt/venv/bin/python manage.py collectstatic --noinput --ignore 'redoc*' \
    && /opt/venv/bin/python -m compileall -q .

FROM python:3.13-slim
ARG VERSION=0.2.0
LABEL org.opencontainers.image.title="Image Extractor" \
      org.opencontainers.image.description="Fetches, compresses and stores the pictures of product catalogues." \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.licenses=MIT
RUN python -m pip uninstall -qq --yes pip \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin app \
    && install -d -o app /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DATA_DIR=/data DJANGO_SETTINGS_MODULE=imageextractor.settings
# Nothing here runs a shell or installs a package; nobody who breaks in should.
RUN rm -f /usr/bin/sh /usr/bin/bash /usr/bin/dash /usr/bin/rbash /usr/bin/perl* /usr/bin/apt* /usr/bin/dpkg*
WORKDIR /app
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --start-interval=1s \
    CMD ["python", "scripts/healthcheck.py"]
# With REDIS_URL this is the web process of a cluster, without it the whole service, with its data in /data.
# Uploads go to /tmp while they arrive; with S3 nothing else has to be writable.
CMD ["python", "manage.py", "serve", "--bind", "0.0.0.0:8000"]
