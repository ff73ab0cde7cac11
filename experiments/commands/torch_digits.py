"""A small network in plain torch on scikit-learn's digits: a script as researchers have it.

`write_scores` is all that was added; `--checkpoint` and `--progress` are there for long trainings.
"""

import argparse
import json
import os

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

TEST = 1000  # rows from here on are for testing, whatever the seed


def write_scores(path, labels, splits, scores):
    """Write NumPy arrays with an entry per sample, and the scores of all classes, (n, K)."""
    rows = np.concatenate(list(splits.values()))
    names = np.repeat(list(splits), [len(each) for each in splits.values()])
    every = np.concatenate([scores[split] for split in splits])
    np.savez(path, sample=rows, label=labels[rows], split=names, scores=every)


def train(model, images, labels, asked):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    criterion = nn.CrossEntropyLoss() if asked.loss == "softmax" else nn.MultiMarginLoss()
    begin = 0
    state = os.path.join(asked.checkpoint, "state.pt")
    if os.path.exists(state):  # an earlier attempt left it
        found = torch.load(state)
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        begin = found["epoch"]
    for epoch in range(begin, asked.epochs):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1000 * asked.seed + epoch))
        losses = []
        for batch in order.split(50):
            loss = criterion(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        torch.save(saved, f"{state}.part")
        os.replace(f"{state}.part", state)
        with open(asked.progress, "a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch + 1, "train_loss": sum(losses) / len(losses)}) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", choices=["softmax", "margin"], required=True)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--checkpoint", default=".")
    parser.add_argument("--progress", default=os.devnull)
    asked = parser.parse_args()

    torch.manual_seed(asked.seed)
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    order = np.random.default_rng(asked.seed).permutation(TEST)
    splits = {"test": np.arange(TEST, len(labels)), "validation": order[600:750]}

    model = nn.Sequential(nn.Linear(64, asked.width), nn.ReLU(), nn.Linear(asked.width, 10))
    train(model, images[order[:600]], torch.tensor(labels[order[:600]]), asked)
    with torch.no_grad():
        scores = {split: model(images[rows]).numpy() for split, rows in splits.items()}
    write_scores(asked.out, labels, splits, scores)


if __name__ == "__main__":
    main()
