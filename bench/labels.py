"""Precision and recall of label suggestions, per label, with everything that was got wrong: `make bench-labels`."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.label_corpus import Sample, corpus
from pipelines.labels.detectors import DETECTORS, suggest_labels


@dataclass(slots=True)
class Figures:
    """How one label was suggested."""

    right: int = 0
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        suggested = self.right + len(self.wrong)
        return self.right / suggested if suggested else 1.0

    @property
    def recall(self) -> float:
        deserved = self.right + len(self.missed)
        return self.right / deserved if deserved else 1.0


def measure(samples: list[Sample]) -> dict[str, Figures]:
    """Figures by label."""
    figures = {label: Figures() for label in sorted(DETECTORS)}
    for text, deserved in samples:
        suggested = set(suggest_labels(text))
        for label in suggested | deserved:
            if label in suggested & deserved:
                figures[label].right += 1
            elif label in deserved:
                figures[label].missed.append(text)
            else:
                figures[label].wrong.append(text)
    return figures


def main() -> None:
    """Print the table and the mistakes."""
    samples = corpus()
    positives = sum(bool(sample.labels) for sample in samples)
    print(f"{len(samples)} texts: {positives} with something sensitive, {len(samples) - positives} that look like it\n")
    print(f"{'label':<20} {'precision':>9} {'recall':>7} {'right':>6} {'missed':>7} {'wrong':>6}")
    figures = measure(samples)
    for label, found in figures.items():
        counts = f"{found.right:>6} {len(found.missed):>7} {len(found.wrong):>6}"
        print(f"{label:<20} {found.precision:>9.3f} {found.recall:>7.3f} {counts}")
    for label, found in figures.items():
        for what, texts in (("missed", found.missed), ("wrong", found.wrong)):
            for text in texts:
                print(f"\n{what} {label}: {text!r}", end="")
    print()


if __name__ == "__main__":
    main()
