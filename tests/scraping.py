"""Prometheus' text format, as a test wants it."""

import requests
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """The samples of one answer."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.help: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        self.samples: Samples = {}
        for family in text_string_to_metric_families(text):
            name = family.name + ("_total" if family.type == "counter" else "")
            self.help[name] = family.documentation
            self.kinds[name] = family.type
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value

    def of(self, name: str, **labels: str) -> float:
        """The sum over the labels that are not given."""
        wanted = set(labels.items())
        return sum(
            value
            for (one, own), value in self.samples.items()
            if one == f"kiroproxy_{name}" and wanted <= own
        )

    def labels(self, name: str) -> set[str]:
        """The names of the labels that a sample's series have."""
        return {label for one, own in self.samples if one == name for label, _ in own}

    def values(self, name: str, label: str) -> set[str]:
        """What a label of it is seen to be."""
        return {dict(own)[label] for one, own in self.samples if one == name and label in dict(own)}

    def names(self) -> set[str]:
        """The names of all series."""
        return {name for name, _ in self.samples}


def scrape(url: str, **headers: str) -> Scrape:
    """Ask for it."""
    answer = requests.get(f"{url}/metrics", headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Scrape(answer.text)
