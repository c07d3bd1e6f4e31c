"""Two hundred training steps in PyTorch, of the captioner and of the classifier: python train_twin.py OUT

OUT gets all that another implementation needs to take the same steps, and the losses PyTorch saw on the way:
  config.json        a tiny configuration
  model.safetensors  the weights before the first step
  data.safetensors   pictures u8 [64, 64, 64, 3], label [64], words and lm_ids [64, 12] (what the text encoder and the decoder read),
                     mask [64, 12], order [200, 16] (the pictures of each step), rate.caption and rate.classify [200]
  curves.json        the settings, and per stage the loss of each step in every way of `WAYS`

Curves already there are kept where they began from the same three files, under the same settings.

Tables hold what could be computed in more than one way. A picture is what `PICTURE` makes of its bytes, in float32, also where all
else is float64. No dropout: PyTorch's random numbers are nobody else's.
"""
import argparse
import contextlib
import hashlib
import json
import math
import os
from collections import namedtuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from tiny_escnet import PARTS, Escnet, load

STEPS, BATCH, SIDE, LENGTH, WARM_UP = 200, 16, 64, 12, 50
PEAK = {"caption": 2e-3, "classify": 3e-4}
OPTIM = {"betas": [0.9, 0.98], "eps": 1e-8, "weight_decay": 0.05, "clip_norm": 1.0}
PICTURE = lambda bytes: bytes.float() / 127.5 - 1  # noqa: E731

# How the same steps can be taken: element type, threads, memory layout, bfloat16 autocast, oneDNN, and the pictures of a batch in reverse
# order, which changes the order of sums and nothing else.
Way = namedtuple("Way", "dtype threads layout autocast onednn backwards", defaults=(1, torch.contiguous_format, False, True, False))
WAYS = {
    "float64": Way(torch.float64),
    "float32": Way(torch.float32),
    "float32, 2 threads": Way(torch.float32, threads=2),
    "float32, channels last": Way(torch.float32, layout=torch.channels_last),
    "float32, channels last, 2 threads": Way(torch.float32, threads=2, layout=torch.channels_last),
    "float32, without oneDNN": Way(torch.float32, onednn=False),
    "float32, batches backwards": Way(torch.float32, backwards=True),
    "bfloat16": Way(torch.float32, autocast=True),
    "bfloat16, channels last": Way(torch.float32, layout=torch.channels_last, autocast=True),
}

COLOURS = {"red": (214, 60, 50), "green": (70, 160, 80), "blue": (60, 100, 200), "yellow": (235, 200, 60)}
GROUNDS = {"white": (240, 238, 232), "grey": (140, 144, 150), "brown": (120, 90, 66), "black": (32, 34, 40)}
SHAPES = {  # inside where not positive; x and y from the middle, in units of the radius
    "circle": lambda x, y: np.hypot(x, y) - 1,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.75) - 0.25,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.85,
    "cross": lambda x, y: np.minimum(np.maximum(abs(x), abs(y) * 3), np.maximum(abs(x) * 3, abs(y))) - 1,
}
SIZES = {"small": 11, "": 16, "large": 21}
PLACES = {"left": -9, "": 0, "right": 9}
WORDS = ["a", "on", "the", "of", *COLOURS, *GROUNDS, *SHAPES, *filter(None, SIZES), *filter(None, PLACES)]
PAD, CLS, SEP, FIRST_WORD, BOS = 0, 2, 3, 5, 95


def config():
    text = {"num_hidden_layers": 2, "max_position_embeddings": 32, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "pad_token_id": PAD}
    return {
        "model_type": "escnet", "image_size": SIDE, "cls_token_id": CLS,
        "classes": ["amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness"],
        "backbone": {"layers": [1, 1, 1, 1], "width": 8},
        "captioner": {
            "vision_config": {
                "hidden_size": 40, "intermediate_size": 72, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIDE,
                "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-05, "attention_dropout": 0.0},
            "text_config": text | {
                "vocab_size": 97, "hidden_size": 32, "encoder_hidden_size": 40, "intermediate_size": 56, "num_attention_heads": 4,
                "bos_token_id": BOS, "eos_token_id": SEP, "sep_token_id": SEP, "label_smoothing": 0.1}},
        "text_encoder": text | {"vocab_size": 95, "hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 3, "type_vocab_size": 2},
        "fusion": {"hidden_size": 48, "num_attention_heads": 4, "mlp_ratio": 2, "depth": 1, "dropout": 0.0,
                   "cross": "both", "self_attention": True, "highlight": "learned"},
        "loss": {"kind": "variable_weight", "lambda": 1.0, "gamma": 1.0, "label_smoothing": 0.0},
    }


def start(model, gen):
    """Fan-in scaled weights, plain norms. The vision tower too: Hugging Face would start it at 1e-10. Filters are four times as wide, which
    batch norm undoes and which makes a step small beside them, and residual branches start at a quarter: a network that leaps multiplies
    every rounding, and the curves of two honest runs part within a few steps (docs/verification.md has the numbers)."""
    for name, p in model.named_parameters():
        if p.dim() >= 2:
            table = "embedding" in name and "patch" not in name or name.endswith("visual_pos")
            gain = 4 if name.startswith("backbone.") else 1
            p.data = torch.randn(p.shape, generator=gen) * (0.1 if table else gain * p[0].numel() ** -0.5)
        else:
            p.data.fill_(0.25 if name.endswith("bn3.weight") else 1.0 if name.endswith("weight") else 0.0)


def draw(colour, ground, shape, size, place, rng):
    """One picture: the shape four times finer than its pixels, a little out of place, and noise on all."""
    at = (np.arange(4 * SIDE) + 0.5) / 4 - SIDE / 2
    dx, dy = PLACES[place] + rng.integers(-2, 3), rng.integers(-6, 7)
    inside = SHAPES[shape]((at[None, :] - dx) / SIZES[size], (at[:, None] - dy) / SIZES[size]) <= 0
    part = inside.reshape(SIDE, 4, SIDE, 4).mean((1, 3))[..., None]
    picture = part * COLOURS[colour] + (1 - part) * np.array(GROUNDS[ground]) + rng.normal(0, 6, (SIDE, SIDE, 3))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def caption(words, first):
    ids = [first, *(FIRST_WORD + WORDS.index(w) for w in words if w), SEP]
    return ids + [PAD] * (LENGTH - len(ids))


def data(rng):
    """Every colour, shape and ground once. The class is colour and roundness together: the text encoder is not told the colour, and
    cannot be right without the picture."""
    rows = {"pictures": [], "label": [], "words": [], "lm_ids": []}
    for c, colour in enumerate(COLOURS):
        for s, shape in enumerate(SHAPES):
            for ground in GROUNDS:
                size, place = rng.choice(list(SIZES)), rng.choice(list(PLACES))
                head, tail = ["a", size], [shape, *(["on", "the", place, "of"] if place else ["on"]), ground]
                rows["pictures"].append(draw(colour, ground, shape, size, place, rng))
                rows["label"].append(2 * c + s // 2)
                rows["words"].append(caption(head + tail, CLS))
                rows["lm_ids"].append(caption(head + [colour] + tail, BOS))
    count = len(rows["label"])
    order = np.concatenate([rng.permutation(count) for _ in range(math.ceil(STEPS * BATCH / count))])[: STEPS * BATCH]
    ramp = [min((i + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * max(i - WARM_UP, 0) / (STEPS - WARM_UP))) for i in range(STEPS)]
    tables = {k: torch.from_numpy(np.array(v)) for k, v in rows.items()} | {"order": torch.from_numpy(order.reshape(STEPS, BATCH))}
    tables = {k: v if v.dtype == torch.uint8 else v.int() for k, v in tables.items()}
    return tables | {f"rate.{stage}": torch.tensor(ramp) * peak for stage, peak in PEAK.items()}


def batch(tables, stage, step, way):
    rows = tables["order"][step].long()
    rows = rows.flip(0) if way.backwards else rows
    picture = PICTURE(tables["pictures"][rows]).permute(0, 3, 1, 2).to(way.dtype).contiguous(memory_format=way.layout)
    ids = tables["lm_ids" if stage == "caption" else "words"][rows].long()
    return {"image": picture, "caption_image": picture, "labels": tables["label"][rows].long(), "caption_ids": ids, "lm_ids": ids,
            "caption_mask": (ids != PAD).long()}


def curve(folder, tables, stage, way):
    """The loss of each step."""
    torch.set_num_threads(way.threads)
    model = load(folder).to(way.dtype).to(memory_format=way.layout).train()
    tensors = list(model.parts(stage).values())
    decayed, others = [p for p in tensors if p.dim() >= 2], [p for p in tensors if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": OPTIM["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
        betas=OPTIM["betas"], eps=OPTIM["eps"])
    losses = []
    for step, rate in enumerate(tables[f"rate.{stage}"].tolist()):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        with contextlib.nullcontext() if way.onednn else torch.backends.mkldnn.flags(enabled=False):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=way.autocast):
                loss = model.loss(stage, batch(tables, stage, step, way))
            loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors, OPTIM["clip_norm"])
        optimizer.step()
        losses.append(loss.item())
    return losses


def digest(paths):
    hash = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            hash.update(f.read())
    return hash.hexdigest()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--seed", type=int, default=0)
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    path = lambda name: os.path.join(a.out, name)
    with open(path("config.json"), "w") as f:
        json.dump(config(), f, indent=1)
    model = Escnet(config())
    start(model, torch.Generator().manual_seed(a.seed))
    save_file({n: t.clone().contiguous() for n, t in model.tensors().items()}, path("model.safetensors"))
    save_file(data(np.random.default_rng(a.seed)), path("data.safetensors"))
    tables = load_file(path("data.safetensors"))
    curves = {"torch": torch.__version__, "optim": OPTIM, "from": digest(map(path, ("config.json", "model.safetensors", "data.safetensors")))}
    before = {}
    if os.path.exists(path("curves.json")):
        with open(path("curves.json")) as f:
            before = json.load(f)
    kept = all(before.get(key) == value for key, value in curves.items())
    for stage in PARTS:
        curves[stage] = {}
        for name, way in WAYS.items():
            losses = before.get(stage, {}).get(name) if kept else None
            curves[stage][name] = losses = losses or curve(a.out, tables, stage, way)
            print(f"{stage:9} {name:34} {losses[0]:.9f} {losses[99]:.9f} {losses[-1]:.9f}", flush=True)
            with open(path("curves.json.new"), "w") as f:
                json.dump(curves, f, indent=0)
            os.replace(path("curves.json.new"), path("curves.json"))


if __name__ == "__main__":
    main()
