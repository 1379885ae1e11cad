"""gunicorn -c gunicorn.conf.py wsgi:app

Patching comes first, before anything imports ssl or urllib3 (design, Q10). The settings and
their reasons are in kiroproxy/serving.py.
"""

import gc

from gevent import monkey

monkey.patch_all()
gc.disable()  # importing makes no garbage; post_worker_init turns it on again

from kiroproxy.serving import gunicorn_settings

globals().update(gunicorn_settings())
