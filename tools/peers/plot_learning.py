"""Draws the curves of both stages, the engine's over PyTorch's, and how far apart they are: python plot_learning.py GOLDEN CURVES OUT.svg

GOLDEN is `train_twin.py`'s folder; CURVES holds the engine's curves, as its tests leave them:
  LEARNING_CURVES=CURVES cargo test --test learning
It prints how near the curves come to their limit, as the tests draw it and more narrowly: by the spread of the same step alone instead of
the largest up to it, and without the ways of `EXTRA`.
"""
import json
import os
import sys

import matplotlib
import numpy as np

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import NullLocator  # noqa: E402

OURS, PEER, LIMIT = "#c2410c", "#475569", "#94a3b8"
EXTRA = ("float32, without oneDNN", "float32, batches backwards")
STAGES = {"caption": "captioner", "classify": "classifier"}
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "learning", "font.size": 9, "font.family": "sans-serif", "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.grid": True, "grid.color": "#e2e8f0", "legend.frameon": False}


def spread(exact, peers):
    """How far apart PyTorch's curves are at each step."""
    return np.max([exact, *peers], 0) - np.min([exact, *peers], 0)


def tell(name, exact, ours, peers):
    """Per rule: the steps that are out, and the farthest |ours - float64| in units of the limit's four spreads."""
    for ways, used in {"all ways": peers, "without extra ways": {n: way for n, way in peers.items() if n not in EXTRA}}.items():
        alone = spread(exact, used.values())
        for rule, width in {"largest so far": np.maximum.accumulate(alone), "step alone": alone}.items():
            share = abs(ours - exact) / (4 * np.maximum(width, np.finfo(float).tiny))
            print(f"{name:16} {ways:19} {rule:15} {np.sum(share > 1):3} out, nearest {np.max(share):.3g} of the limit at step {np.argmax(share)}")


def departures(axis, exact, ours, peers):
    """|ours - float64| below four times the running spread of PyTorch's curves. What is 0 is drawn at the foot."""
    so_far = np.maximum.accumulate(spread(exact, peers))
    foot = 10 ** np.floor(np.log10(so_far[so_far > 0].min()) - 1)
    shown = [
        axis.plot(np.maximum(abs(ours - exact), foot), color=OURS, lw=0.9, label="|escnet − PyTorch in float64|")[0],
        axis.fill_between(range(len(so_far)), foot, so_far, color=LIMIT, alpha=0.35, lw=0, step="mid", label="PyTorch's own spread so far"),
        axis.plot(4 * so_far, color=PEER, lw=1.2, ls="--", drawstyle="steps-mid", label="four times that: the limit")[0],
    ]
    axis.set(yscale="log", ylim=(foot, None))
    axis.yaxis.set_minor_locator(NullLocator())
    return shown


def main(golden, curves, out):
    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(3, 2, figsize=(9, 8.2), sharex=True, layout="constrained", height_ratios=[1.3, 1, 1])
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
        shown = [
            top.plot(exact, color=PEER, lw=3.2, alpha=0.45, label="PyTorch's loss, float64")[0],
            top.plot(ours["f32"], color=OURS, lw=0.9, label="escnet's loss, f32")[0],
        ]
        top.set(title=title.capitalize(), ylim=(0, None))
        for axis, (kind, prefix) in zip(below, {"f32": "float32", "bf16": "bfloat16"}.items()):
            peers = {name: losses for name, losses in ways.items() if name.startswith(prefix)}
            tell(f"{title} {kind}", exact, ours[kind], peers)
            marks = departures(axis, exact, ours[kind], peers.values())
        below[-1].set_xlabel("step")
    for axis, label in zip(axes[:, 0], ("loss, nats", "difference, f32", "difference, bf16")):
        axis.set_ylabel(label)
    figure.align_ylabels()
    figure.legend(handles=shown + marks, loc="outside lower center", ncols=3, fontsize=8.5)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
