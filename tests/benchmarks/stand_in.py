"""A program with the names of airbench94_muon.py. Its small network learns whether an image is brighter at the top."""

# mypy: ignore-errors

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torchvision import transforms


class CifarNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2, bias=True)
        self.whiten.weight.requires_grad = False
        self.head = nn.Linear(24 * 4, 2, bias=False)
        self.half()

    def init_whiten(self, images, eps=5e-4):
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).transpose(1, 3).reshape(-1, 12).float()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        scaled = vectors.T.reshape(-1, 3, 2, 2) / torch.sqrt(values.view(-1, 1, 1, 1) + eps)
        self.whiten.weight.data[:] = torch.cat((scaled, -scaled))

    def forward(self, images):
        features = functional.gelu(functional.conv2d(images, self.whiten.weight, self.whiten.bias))
        return self.head(functional.adaptive_avg_pool2d(features, 2).flatten(1))


@torch.compile
def scaled(gradient, rate):
    return rate * gradient


def load(name):
    content = torch.load(f"cifar10/{name}.pt", map_location=torch.device("cuda"))
    images = (content["images"].half() / 255).permute(0, 3, 1, 2).to(memory_format=torch.channels_last)
    return transforms.Normalize(torch.tensor((0.5, 0.5, 0.5)), torch.tensor((0.25, 0.25, 0.25)))(images), content[
        "labels"
    ]


def print_training_details(variables, is_final_entry):
    raise AssertionError("replaced by the caller")


def main(run, model):
    batch_size = 50
    (images, labels), (test_images, test_labels) = load("train"), load("test")
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    time_seconds = 0.0
    model.init_whiten(images)
    for epoch in range(4):  # noqa: B007 - printed
        start.record()
        for chosen in torch.randperm(len(images)).split(batch_size):
            functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            for weight in model.parameters():
                if weight.grad is not None:
                    weight.data -= scaled(weight.grad, 0.05)
            model.zero_grad()
        end.record()
        torch.cuda.synchronize()
        time_seconds += 1e-3 * start.elapsed_time(end)
        with torch.no_grad():
            train_acc, val_acc = (
                (model(one).argmax(1) == two).float().mean().item()
                for one, two in ((images, labels), (test_images, test_labels))
            )
        print_training_details(locals(), is_final_entry=False)
    tta_val_acc = val_acc
    print_training_details(locals(), is_final_entry=True)
    return tta_val_acc
