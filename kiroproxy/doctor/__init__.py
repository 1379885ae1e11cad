"""What is wrong on this machine, and the one thing to do about it.

`examine` returns a list of findings, for `kiroproxy doctor` and the admin API alike. It changes
nothing, except that with the operator's consent it renews tokens; it shows no secrets. Checks run
at the same time, since most of them wait, and none is waited for longer than `LIMIT_S`.
"""

from kiroproxy.doctor.finding import Finding, worst
from kiroproxy.doctor.patient import Patient
from kiroproxy.doctor.rounds import LIMIT_S, examine

__all__ = ["LIMIT_S", "Finding", "Patient", "examine", "worst"]
