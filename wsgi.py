"""The application for `gunicorn -c gunicorn.conf.py wsgi:app` and `flask --app wsgi …`."""

from kiroproxy import serving

app = serving.application()

if not serving.under_gunicorn():  # its workers have no use for commands
    from kiroproxy import cli

    cli.register(app)
