"""Two linear classifiers of scikit-learn on its digits: a script as researchers have it.

Nothing in it knows the orchestrator. `write_scores` is all that was added.
"""

import argparse
import csv

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

TEST = 1000  # rows from here on are for testing, whatever the seed


def write_scores(path, labels, splits, scores):
    """Write a row per sample: its place, label and split, and the scores of all classes.

    `scores` maps the name of a split to an array (n, K), `splits` to the rows (n,) it is of.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        classes = next(iter(scores.values())).shape[1]
        table.writerow(["sample", "label", "split", *(f"score_{number}" for number in range(classes))])
        for split, rows in splits.items():
            for row, values in zip(rows, scores[split], strict=True):
                table.writerow([row, labels[row], split, *values])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", choices=["logistic", "hinge"], required=True)
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", required=True)
    asked = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    images = images / 16
    order = np.random.default_rng(asked.seed).permutation(TEST)
    train = order[:300]
    splits = {"test": np.arange(TEST, len(labels)), "validation": order[300:450]}

    if asked.loss == "logistic":
        model = LogisticRegression(C=asked.strength, max_iter=500)
    else:
        model = LinearSVC(C=asked.strength, random_state=asked.seed)
    model.fit(images[train], labels[train])
    for split, rows in splits.items():
        print(split, "accuracy", round(model.score(images[rows], labels[rows]), 4))

    scores = {split: model.decision_function(images[rows]) for split, rows in splits.items()}
    write_scores(asked.out, labels, splits, scores)


if __name__ == "__main__":
    main()
