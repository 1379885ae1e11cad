"""Who may use us and who did: client keys, limits, budgets, the usage ledger, the audit log.

Law: no request waits for this package's database. What the request's path needs lies in memory
(keys) or in `runtime.db` (limits), what it leaves behind is written later, by a thread. Modules on
that path do not import SQLAlchemy: only `tables`, `schema` and `statements` do, when the database
is first opened.
"""
