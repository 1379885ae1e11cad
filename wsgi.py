"""The application for `gunicorn -c gunicorn.conf.py wsgi:app` and `flask --app wsgi …`."""

from kiroproxy import cli, serving

app = serving.application()
cli.register(app)
