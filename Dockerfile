# One image for the web process and the workers: compose.yaml shows how each is started.

FROM python:3.13-slim AS build
RUN python -m venv /opt/venv
COPY requirements.lock .
RUN /opt/venv/bin/pip install -qq --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
WORKDIR /app
COPY . .
# The addresses only choose the settings of a cluster; nothing is connected to.
RUN SECRET_KEY=only-to-collect-files-nothing-is-signed-by-this-key \
    DATABASE_URL=postgresql://unused/unused REDIS_URL=redis://unused \
    /opt/venv/bin/python manage.py collectstatic --noinput

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin app \
    && install -d -o app /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DATA_DIR=/data DJANGO_SETTINGS_MODULE=imageextractor.settings
WORKDIR /app
USER app
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "scripts/healthcheck.py"]
CMD ["gunicorn", "-c", "python:imageextractor.gunicorn_conf", "--bind", "0.0.0.0:8000", \
     "--worker-tmp-dir", "/dev/shm", "imageextractor.wsgi"]
