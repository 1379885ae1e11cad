"""The admin API, an application of its own that is built when it is first asked for.

Importing this package costs nothing. `door` is all that a worker loads at its start; flask-smorest,
apispec and webargs come with the first request to `/api/admin` or `/admin` (design, Q16).
"""
