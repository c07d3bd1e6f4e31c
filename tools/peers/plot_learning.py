"""Draws the curves of both stages, the engine's over PyTorch's, and how far apart they are: python plot_learning.py GOLDEN CURVES OUT.svg

GOLDEN is `train_twin.py`'s folder; CURVES holds the engine's curves, as its tests leave them:
  LEARNING_CURVES=CURVES cargo test --test train learning
"""
import json
import os
import sys

import matplotlib
import numpy as np

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

OURS, PEER, LIMIT = "#c2410c", "#475569", "#94a3b8"
STAGES = {"caption": "captioner", "classify": "classifier"}
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "learning", "font.size": 9, "font.family": "sans-serif", "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.grid": True, "grid.color": "#e2e8f0", "legend.frameon": False}


def departures(axis, exact, ours, peers):
    """|ours - float64| below four times the running spread of PyTorch's curves. What is 0 is drawn at the foot."""
    spread = np.maximum.accumulate(np.max([exact, *peers], 0) - np.min([exact, *peers], 0))
    foot = 10 ** np.floor(np.log10(spread[spread > 0].min()) - 1)
    axis.fill_between(range(len(spread)), foot, np.maximum(spread, foot), color=LIMIT, alpha=0.35, lw=0, step="mid", label="PyTorch's own spread so far")
    axis.plot(np.maximum(4 * spread, foot), color=PEER, lw=1.2, ls="--", label="four times that: the limit")
    axis.plot(np.maximum(abs(ours - exact), foot), color=OURS, lw=0.9, label="escnet, from PyTorch in float64")
    axis.set_yscale("log")
    axis.set_ylim(foot, None)


def main(golden, curves, out):
    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(3, 2, figsize=(9, 8), sharex=True, layout="constrained", height_ratios=[1.3, 1, 1])
    with open(os.path.join(golden, "curves.json")) as f:
        torch = json.load(f)
    for column, (stage, title) in enumerate(STAGES.items()):
        ways = {name: np.array(losses) for name, losses in torch[stage].items()}
        exact = ways["float64"]
        ours = {}
        for kind in ("f32", "bf16"):
            with open(os.path.join(curves, f"{kind}.{stage}.json")) as f:
                ours[kind] = np.array(json.load(f))
        top, *below = axes[:, column]
        top.plot(exact, color=PEER, lw=3.2, alpha=0.45, label="PyTorch, float64")
        top.plot(ours["f32"], color=OURS, lw=0.9, label="escnet, f32")
        top.set(title=f"Loss of the {title}", ylim=(0, None))
        for axis, (kind, prefix) in zip(below, {"f32": "float32", "bf16": "bfloat16"}.items()):
            departures(axis, exact, ours[kind], [losses for name, losses in ways.items() if name.startswith(prefix)])
            axis.set_title(f"Apart, {kind}")
        below[-1].set_xlabel("step")
    for axis in axes[:2, 0]:
        axis.legend(loc="best", fontsize=8)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
