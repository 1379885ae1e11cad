"""The simulator of the flow tests serves these, too."""

from tests.flows.conftest import running_simulator, sim

__all__ = ["running_simulator", "sim"]
