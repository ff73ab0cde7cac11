"""A small network under Lightning on scikit-learn's digits: a script as researchers have it.

`write_scores` is all that was added.
"""

import argparse

import lightning
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

TEST = 1000  # rows from here on are for testing, whatever the seed


def write_scores(path, labels, splits, scores):
    """Write NumPy arrays with an entry per sample, and the scores of all classes, (n, K)."""
    rows = np.concatenate(list(splits.values()))
    names = np.repeat(list(splits), [len(each) for each in splits.values()])
    every = np.concatenate([scores[split] for split in splits])
    np.savez(path, sample=rows, label=labels[rows], split=names, scores=every)


class Digits(lightning.LightningModule):
    def __init__(self, loss):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.loss = nn.CrossEntropyLoss() if loss == "softmax" else nn.MultiMarginLoss()

    def training_step(self, batch, _):
        images, labels = batch
        return self.loss(self.network(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", choices=["softmax", "margin"], required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--checkpoint", default=".")
    asked = parser.parse_args()

    lightning.seed_everything(asked.seed)
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    order = np.random.default_rng(asked.seed).permutation(TEST)
    splits = {"test": np.arange(TEST, len(labels)), "validation": order[600:750]}

    model = Digits(asked.loss)
    data = TensorDataset(images[order[:600]], torch.tensor(labels[order[:600]]))
    trainer = lightning.Trainer(
        max_epochs=asked.epochs,
        accelerator="auto",
        default_root_dir=asked.checkpoint,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, DataLoader(data, batch_size=50, shuffle=True))
    with torch.no_grad():
        scores = {split: model.network(images[rows]).numpy() for split, rows in splits.items()}
    write_scores(asked.out, labels, splits, scores)


if __name__ == "__main__":
    main()
