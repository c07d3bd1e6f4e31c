"""PyTorch on the graphs that `escnet bench --whole` measured: python torch_wholes.py ROWS... [--shapes escnet-base] [--device cuda|cpu] [--compile] > torch.json

ROWS is what `escnet bench --whole -o json` (or csv) wrote. Each graph is made of the same layers with weights at random, in the row's type and for as many
pictures, and its row has the same key, so that `escnet bench compare torch.json ROWS` and `escnet bench --against torch.json` join them. The fastest way counts:
  eager      scaled_dot_product_attention, products of equal inputs as one, batch norm folded into the convolutions, channels last
  cudnn      the same where attention is by cuDNN (CUDA)
  compiled   the same where torch.compile (max-autotune) made every block (--compile)
On CUDA a sample is a replay of one graph of the whole, timed by events; on a CPU the host's clock around it.

A decoding step is one of beam search with its caches: they are reordered, the new keys and values written, log-probabilities taken, the best continuations
chosen. A training step is forward, backward, clipping and fused AdamW on float32 weights, in halves under autocast. Dropout is the configuration's, masks are ones.

On stderr also what follows from rows: a caption of 20 words as its encoding and 20 steps, and with the classifier after it the model end to end.

    python torch_wholes.py --check GOLDEN...    compares these layers with golden folders, in float64
"""
import contextlib
import gc
import json
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.fusion import fuse_conv_bn_eval

from common import read_rows
from full_size import Attention, Fusion
from tiny_escnet import ResNet
from torch_ops import MODE, TYPES, arguments, once, passes, samples, set_up, summary

BEAMS, LONGEST, WORDS = 3, 40, 20  # `Generation::default()`, and the caption that is told of
SHAPES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/bench/parts")


def heads(x, n):
    """[B, L, n D] -> [B, n, L, D]"""
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


class Attend(nn.Module):
    """Queries, keys and values of as few products as can be: one where all are of the same tokens, else one of the queries and one of `seen`, so wide."""

    def __init__(self, d, n, dropout, seen=None):
        super().__init__()
        self.n, self.dropout, self.out = n, dropout, nn.Linear(d, d)
        if seen is None:
            self.qkv = nn.Linear(d, 3 * d)
        else:
            self.q, self.kv = nn.Linear(d, d), nn.Linear(seen, 2 * d)

    def attend(self, q, k, v, mask=None, causal=False):
        y = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0, causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def forward(self, x, seen=None, mask=None, causal=False):
        q, k, v = self.qkv(x).chunk(3, -1) if seen is None else (self.q(x), *self.kv(seen).chunk(2, -1))
        return self.attend(heads(q, self.n), heads(k, self.n), heads(v, self.n), mask, causal)

    def step(self, x, cache, position, mask):
        """One more token of each row [R, 1, d]; `cache` holds keys and values [2, R, n, L, D]."""
        q, k, v = (heads(t, self.n) for t in self.qkv(x).chunk(3, -1))
        cache[0].index_copy_(2, position, k)
        cache[1].index_copy_(2, position, v)
        return self.attend(q, cache[0], cache[1], mask)

    def look(self, x, k, v):
        """Queries of all beams of a picture [R, 1, d] at its keys and values [B, n, N, D], which are not copied."""
        return self.attend(heads(self.q(x.view(k.shape[0], -1, x.shape[-1])), self.n), k, v).view(x.shape)


class PreNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, inner, eps = c["hidden_size"], c["intermediate_size"], c["layer_norm_eps"]
        self.norm1, self.attn = nn.LayerNorm(d, eps), Attend(d, c["num_attention_heads"], c["attention_dropout"])
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(d, eps), nn.Linear(d, inner), nn.Linear(inner, d)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vision(nn.Module):
    """[B, 3, S, S] -> [B, N, d]"""

    def __init__(self, c):
        super().__init__()
        d, patch = c["hidden_size"], c["patch_size"]
        self.patches = nn.Conv2d(3, d, patch, patch)
        self.first = nn.Parameter(torch.randn(1, 1, d))
        self.positions = nn.Parameter(torch.randn(1, 1 + (c["image_size"] // patch) ** 2, d))
        self.layers, self.norm = nn.ModuleList(PreNorm(c) for _ in range(c["num_hidden_layers"])), nn.LayerNorm(d, c["layer_norm_eps"])

    def forward(self, image):
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.to(x.dtype).expand(len(x), -1, -1), x], 1) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class PostNorm(nn.Module):
    """A layer of BERT; of a decoder where it looks at tokens, `seen` wide."""

    def __init__(self, c, seen=None):
        super().__init__()
        d, n, inner, eps, p = c["hidden_size"], c["num_attention_heads"], c["intermediate_size"], c["layer_norm_eps"], c["attention_probs_dropout_prob"]
        self.attn, self.norm1 = Attend(d, n, p), nn.LayerNorm(d, eps)
        self.cross, self.norm_x = (Attend(d, n, p, seen), nn.LayerNorm(d, eps)) if seen else (None, None)
        self.fc1, self.fc2, self.norm2, self.drop = nn.Linear(d, inner), nn.Linear(inner, d), nn.LayerNorm(d, eps), nn.Dropout(c["hidden_dropout_prob"])

    def forward(self, x, mask, causal=False, seen=None, step=None):
        """`step`: one token of a search, as its cache, its position, and keys and values of what is looked at; else whole sequences."""
        x = self.norm1(x + self.drop(self.attn(x, None, mask, causal) if step is None else self.attn.step(x, *step[:2], mask)))
        if self.cross is not None:
            x = self.norm_x(x + self.drop(self.cross(x, seen) if step is None else self.cross.look(x, *step[2])))
        return self.norm2(x + self.drop(self.fc2(F.gelu(self.fc1(x)))))


class Bert(nn.Module):
    """Ids [B, L] and mask [B, L] -> [B, L, d]; with a head, of a decoder, [B, L, vocabulary]."""

    def __init__(self, c, seen=None):
        super().__init__()
        d, eps = c["hidden_size"], c["layer_norm_eps"]
        self.words, self.positions = nn.Embedding(c["vocab_size"], d), nn.Embedding(c["max_position_embeddings"], d)
        self.types = None if seen else nn.Embedding(c["type_vocab_size"], d)
        self.norm, self.drop = nn.LayerNorm(d, eps), nn.Dropout(c["hidden_dropout_prob"])
        self.layers = nn.ModuleList(PostNorm(c, seen) for _ in range(c["num_hidden_layers"]))
        self.seen = seen
        if seen:
            self.dense, self.dense_norm, self.bias = nn.Linear(d, d), nn.LayerNorm(d, eps), nn.Parameter(torch.zeros(c["vocab_size"]))

    def embed(self, ids, positions):
        x = self.words(ids) + positions
        return self.drop(self.norm(x if self.types is None else x + self.types.weight[0]))

    def head(self, x):
        return F.linear(self.dense_norm(F.gelu(self.dense(x))), self.words.weight, self.bias)

    def forward(self, ids, mask, seen=None):
        x, mask = self.embed(ids, self.positions.weight[: ids.shape[1]]), mask.bool()[:, None, None, :]
        if self.seen:  # causal as well; one mask for both
            mask = mask & torch.ones([ids.shape[1]] * 2, dtype=torch.bool, device=ids.device).tril()
        for layer in self.layers:
            x = layer(x, mask, seen=seen)
        return self.head(x) if self.seen else x

    def cross_keys(self, seen):
        """Keys and values of every layer, [B, n, N, D] each."""
        return [[heads(t, layer.cross.n) for t in layer.cross.kv(seen).chunk(2, -1)] for layer in self.layers]

    def step(self, ids, position, caches, keys):
        """Logits [R, 1, vocabulary] of ids [R, 1] at `position` [1]. `caches` [layers, 2, R, n, L, D]."""
        x = self.embed(ids, self.positions(position))
        mask = (torch.arange(caches.shape[4], device=ids.device) <= position)[None, None, None]
        for layer, cache, seen in zip(self.layers, caches, keys):
            x = layer(x, mask, step=(cache, position, seen))
        return self.head(x)


class Fast(Attention):
    """The fusion's attention without its map, which nothing but a result of the classifier asks for."""

    dropout = 0.0

    def forward(self, xq, xk, mask=None):
        q, k, v = (heads(f(x), self.heads) for f, x in ((self.q, xq), (self.k, xk), (self.v, xk)))
        y = F.scaled_dot_product_attention(q, k, v, None if mask is None else mask.bool()[:, None, None, :])
        return F.dropout(self.o(y.transpose(1, 2).flatten(2)), self.dropout, self.training), None


def fusion(cfg, with_map):
    """`full_size.py`'s, quicker and with its dropout; `with_map`: the highlight's attention is a result."""
    c = cfg["fusion"]
    assert (c["cross"], c["self_attention"], c["highlight"]) == ("both", True, "learned"), "the fusion's switches are not the default ones"
    made = Fusion(c, 32 * cfg["backbone"]["width"], cfg["image_size"] // 32, cfg["text_encoder"]["hidden_size"], len(cfg["classes"]))
    for name, module in made.named_modules():
        if isinstance(module, Attention) and not (with_map and name == "highlight.attn"):
            module.__class__ = Fast
            module.dropout = c["dropout"] if name.startswith("blocks.") else 0.0
    return made


def dropped(made, p):
    """The rest of the fusion's dropout, for training."""
    for block in made.blocks:
        block["fc2"] = nn.Sequential(block["fc2"], nn.Dropout(p))
    made.head = nn.Sequential(nn.Dropout(p), made.head)
    return made


def folded(net):
    """The ResNet with its batch norms in its convolutions."""
    for module in [m for m in net.modules() if hasattr(m, "bn1")]:
        for i in "123":
            if hasattr(module, f"bn{i}"):
                setattr(module, f"conv{i}", fuse_conv_bn_eval(getattr(module, f"conv{i}"), getattr(module, f"bn{i}")))
                setattr(module, f"bn{i}", nn.Identity())
        if getattr(module, "downsample", None) is not None:
            module.downsample = fuse_conv_bn_eval(*module.downsample)
    return net


def blocks(module):
    """What is compiled one by one: modules of one class and the same extents share what was made of the first."""
    kinds = (PreNorm, PostNorm, Fusion)
    for m in module.modules():
        if isinstance(m, kinds) or type(m).__name__ == "Bottleneck":
            yield m


class Graphs:
    """What a row's graph computes, as a function without arguments. `made` holds its modules."""

    def __init__(self, cfg, batch, dtype, device):
        self.cfg, self.batch, self.dtype, self.device, self.made = cfg, batch, dtype, device, []
        self.words = min(LONGEST, cfg["captioner"]["text_config"]["max_position_embeddings"], cfg["text_encoder"]["max_position_embeddings"])
        self.vocabulary = min(cfg["captioner"]["text_config"]["vocab_size"], cfg["text_encoder"]["vocab_size"])

    def module(self, made, training=False):
        made = made.to(self.device, torch.float32 if training else self.dtype, memory_format=torch.channels_last).train(training)
        self.made.append(made)
        return made

    def image(self, side, dtype=None):
        return torch.randn(self.batch, 3, side, side, device=self.device, dtype=dtype or self.dtype).contiguous(memory_format=torch.channels_last)

    def ids(self, length, rows=None, below=None):
        return torch.randint(0, below or self.vocabulary, (rows or self.batch, length), device=self.device)

    def ones(self, length):
        return torch.ones(self.batch, length, dtype=torch.long, device=self.device)

    def backbone(self):
        c, image = self.cfg["backbone"], self.image(self.cfg["image_size"])
        net = self.module(folded(ResNet(c["layers"], c["width"]).eval()))
        return lambda: net(image)

    def text_encode(self):
        bert, ids, mask = self.module(Bert(self.cfg["text_encoder"])), self.ids(self.words), self.ones(self.words)
        return lambda: bert(ids, mask)

    def fusion(self, with_map=False):
        net, grid, mask = self.module(fusion(self.cfg, with_map)), self.cfg["image_size"] // 32, self.ones(self.words)
        features = torch.randn(self.batch, 32 * self.cfg["backbone"]["width"], grid, grid, device=self.device, dtype=self.dtype)
        features = features.contiguous(memory_format=torch.channels_last)
        text = torch.randn(self.batch, self.words, self.cfg["text_encoder"]["hidden_size"], device=self.device, dtype=self.dtype)
        return lambda features=features, text=text: net(features, text, mask)

    def classify(self):
        backbone, text, joined = self.backbone(), self.text_encode(), self.fusion(with_map=True)

        def run():
            logits, extra = joined(backbone(), text())
            return logits.softmax(-1), extra["gate"], extra["attn"]

        return run

    def decoder(self):
        c = self.cfg["captioner"]
        return Bert(c["text_config"], c["vision_config"]["hidden_size"])

    def caption_encode(self):
        c = self.cfg["captioner"]["vision_config"]
        vision, decoder, image = self.module(Vision(c)), self.module(self.decoder()), self.image(c["image_size"])
        return lambda: decoder.cross_keys(vision(image))

    def caption_step(self):
        c, rows = self.cfg["captioner"], self.batch * BEAMS
        t, decoder = c["text_config"], self.module(self.decoder())
        normal = lambda *shape: torch.randn(*shape, device=self.device, dtype=self.dtype)
        n, size, tokens = t["num_attention_heads"], t["hidden_size"] // t["num_attention_heads"], 1 + (c["vision_config"]["image_size"] // c["vision_config"]["patch_size"]) ** 2
        caches, keys = normal(t["num_hidden_layers"], 2, rows, n, self.words, size), [normal(2, self.batch, n, tokens, size).unbind() for _ in decoder.layers]
        position, scores = torch.full([1], self.words // 2, device=self.device), torch.zeros(self.batch, BEAMS, device=self.device)
        ids, parents, first = self.ids(1, rows), torch.arange(rows, device=self.device), BEAMS * torch.arange(self.batch, device=self.device)[:, None]

        def run():
            caches.copy_(caches.index_select(2, parents))
            log_probs = decoder.step(ids, position, caches, keys)[:, 0].float().log_softmax(-1)
            values, tokens = log_probs.topk(2 * BEAMS)
            total = (scores.view(-1, 1) + values).view(self.batch, -1)
            best, at = total.topk(BEAMS)
            scores.copy_(best)
            ids.copy_(tokens.view(self.batch, -1).gather(1, at).view(-1, 1))
            parents.copy_((first + at // (2 * BEAMS)).flatten())

        return run

    def training(self, loss):
        """A step on all parameters of what was made."""
        parameters = [p for made in self.made for p in made.parameters()]
        decayed, others = [p for p in parameters if p.dim() >= 2], [p for p in parameters if p.dim() < 2]
        optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], lr=1e-4, fused=True,
                                      **({"capturable": True} if self.device == "cuda" else {}))

        def step():
            optimizer.zero_grad(set_to_none=True)
            # Weights are cast once a step anyway, and a cast that is remembered would be left out of a recorded graph.
            with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32, cache_enabled=False):
                value = loss()
            value.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
            optimizer.step()

        return step

    def train_classify(self):
        c, loss = self.cfg["backbone"], self.cfg["loss"]
        assert loss["kind"] == "variable_weight" and loss["label_smoothing"] == 0.0, "another loss than the default"
        net, bert = self.module(ResNet(c["layers"], c["width"]), True), self.module(Bert(self.cfg["text_encoder"]), True)
        joined = self.module(dropped(fusion(self.cfg, False), self.cfg["fusion"]["dropout"]), True)
        image, ids, mask = self.image(self.cfg["image_size"], torch.float32), self.ids(self.words), self.ones(self.words)
        labels = self.ids(1, below=len(self.cfg["classes"]))[:, 0]

        def mean():
            logits = joined(net(image), bert(ids, mask), mask)[0].float()
            ce = F.cross_entropy(logits, labels, reduction="none")
            p = logits.softmax(-1).gather(1, labels[:, None])[:, 0]
            return ((1 + loss["lambda"] * (1 - p) ** loss["gamma"]).detach() * ce).mean()

        return self.training(mean)

    def train_caption(self):
        c, length = self.cfg["captioner"], self.words - 1
        vision, decoder = self.module(Vision(c["vision_config"]), True), self.module(self.decoder(), True)
        image, ids, mask, labels = self.image(c["vision_config"]["image_size"], torch.float32), self.ids(length), self.ones(length), self.ids(length)
        smoothing = c["text_config"]["label_smoothing"]
        return self.training(lambda: F.cross_entropy(decoder(ids, mask, vision(image)).flatten(0, 1).float(), labels.flatten(), label_smoothing=smoothing))


PARTS = {"backbone": Graphs.backbone, "text-encode": Graphs.text_encode, "fusion": Graphs.fusion, "classify": Graphs.classify,
         "caption-encode": Graphs.caption_encode, "caption-step": Graphs.caption_step,
         "train-classify": Graphs.train_classify, "train-caption": Graphs.train_caption}


def measured(row, way, cfg, a):
    is_training = row["op"].startswith("train")
    with contextlib.nullcontext() if is_training else torch.inference_mode():
        try:
            graphs = Graphs(cfg, int(row["shape"]), TYPES[row["dtype"]], a.device)
            run = PARTS[row["op"]](graphs)
            if way == "compiled":
                for block in [block for made in graphs.made for block in blocks(made)]:
                    block.forward = torch.compile(block.forward, mode=MODE, dynamic=False)
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION) if way == "cudnn" else contextlib.nullcontext():
                return {**summary(*samples(once([(run, ())], a.device), a.device, a.time)), "kernels": way}
        except Exception as e:  # a backend that does not take these masks, or no memory; one that fails is no reason to lose the rest
            print(f"{row['op']} {row['shape']} {way}: {type(e).__name__}: {str(e).strip()[:200]}", file=sys.stderr)
            return None
        finally:
            gc.collect()
            if a.device == "cuda":
                torch.cuda.empty_cache()


def end_to_end(ours, theirs):
    """What rows add up to."""
    for dtype, batch in sorted({(row["dtype"], row["shape"]) for row in ours.values()}, key=lambda of: (of[0], int(of[1]))):
        told = []
        for rows in (ours, theirs):
            ms = {row["op"]: float(row["us"]) / 1e3 for row in rows.values() if (row["dtype"], row["shape"]) == (dtype, batch)}
            caption = ms.get("caption-encode", float("nan")) + WORDS * ms.get("caption-step", float("nan"))
            told.append({f"caption of {WORDS} words": caption, "end to end": caption + ms.get("classify", float("nan"))})
        for name in told[0]:
            escnet, torch_ = (t[name] for t in told)
            if escnet == escnet and torch_ == torch_:
                print(f"{name}, {dtype}, batch {batch}: escnet {escnet:.3f} ms, {1e3 * int(batch) / escnet:.1f} pictures/s; "
                      f"torch {torch_:.3f} ms, {1e3 * int(batch) / torch_:.1f}; {escnet / torch_:.3f}", file=sys.stderr)


# What a checkpoint calls a module of a layer; several become one, rows after rows.
BERT = {"attn.qkv": [f"attention.self.{n}" for n in ("query", "key", "value")], "attn.out": ["attention.output.dense"], "norm1": ["attention.output.LayerNorm"],
        "cross.q": ["crossattention.self.query"], "cross.kv": ["crossattention.self.key", "crossattention.self.value"],
        "cross.out": ["crossattention.output.dense"], "norm_x": ["crossattention.output.LayerNorm"],
        "fc1": ["intermediate.dense"], "fc2": ["output.dense"], "norm2": ["output.LayerNorm"]}
VIT = {"norm1": ["layer_norm1"], "norm2": ["layer_norm2"], "attn.qkv": ["self_attn.qkv"], "attn.out": ["self_attn.projection"], "fc1": ["mlp.fc1"], "fc2": ["mlp.fc2"]}
AROUND = {"words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings", "types": "embeddings.token_type_embeddings",
          "norm": "embeddings.LayerNorm", "patches": "embeddings.patch_embedding"}


def filled(made, stored, prefix, layer, names, around):
    """`made` with the weights of a checkpoint."""
    state = {}
    for name in made.state_dict():
        module, _, which = name.rpartition(".")
        if module.startswith("layers."):
            _, i, inner = module.split(".", 2)
            state[name] = torch.cat([stored[f"{prefix}{layer}.{i}.{theirs}.{which}"] for theirs in names[inner]])
        else:
            state[name] = stored[around[name] if name in around else f"{prefix}{around[module]}.{which}"]
    made.load_state_dict(state)
    return made.double().eval()


@torch.no_grad()
def check(folder):
    """These layers against a golden folder's results, in float64: whole sequences, and the decoder token by token."""
    with open(os.path.join(folder, "config.json")) as f:
        cfg = json.load(f)
    stored, golden = (load_file(os.path.join(folder, f"{name}.safetensors")) for name in ("model", "golden"))
    x = {n[3:]: v.double() if v.is_floating_point() else v for n, v in golden.items() if n.startswith("in.")}
    graphs = Graphs(cfg, 1, torch.float64, "cpu")
    text = filled(Bert(cfg["text_encoder"]), stored, "text_encoder.", "encoder.layer", BERT, AROUND)(x["caption_ids"], x["caption_mask"])
    tower, head = "captioner.vision_model.", "captioner.text_decoder.cls.predictions."
    around = {**AROUND, "norm": "post_layernorm", "first": f"{tower}embeddings.class_embedding", "positions": f"{tower}embeddings.position_embedding"}
    seen = filled(Vision(cfg["captioner"]["vision_config"]), stored, tower, "encoder.layers", VIT, around)(x["caption_image"])
    around = {**AROUND, "bias": f"{head}bias", **{f"{mine}.{w}": f"{head}transform.{theirs}.{w}" for mine, theirs in (("dense", "dense"), ("dense_norm", "LayerNorm"))
                                                  for w in ("weight", "bias")}}
    decoder = filled(graphs.decoder(), stored, "captioner.text_decoder.bert.", "encoder.layer", BERT, around)
    t, (rows, length) = cfg["captioner"]["text_config"], x["lm_ids"].shape
    caches = torch.zeros(t["num_hidden_layers"], 2, rows, t["num_attention_heads"], length, t["hidden_size"] // t["num_attention_heads"], dtype=torch.float64)
    keys = decoder.cross_keys(seen)
    steps = [decoder.step(x["lm_ids"][:, i : i + 1], torch.tensor([i]), caches, keys) for i in range(length)]
    joined = fusion(cfg, True)
    joined.load_state_dict({n[7:]: v for n, v in stored.items() if n.startswith("fusion.")})
    backbone = ResNet(cfg["backbone"]["layers"], cfg["backbone"]["width"])
    backbone.load_state_dict({n[9:]: v for n, v in stored.items() if n.startswith("backbone.")}, strict=False)
    logits, extra = joined.double().eval()(folded(backbone.double().eval())(x["image"]), text, x["caption_mask"])
    words = x["caption_mask"].bool()
    pairs = {"text": (text[words], golden["out.text"][words]), "vision": (seen, golden["out.captioner.vision"]), "logits": (logits, golden["out.logits"]),
             "attn": (extra["attn"], golden["out.fusion.attn"]), "captioner.logits": (decoder(x["lm_ids"], x["caption_mask"], seen)[words], golden["out.captioner.logits"][words]),
             "captioner.logits by steps": (torch.cat(steps, 1)[words], golden["out.captioner.logits"][words])}
    off = {name: float((got - want.double()).norm() / want.double().norm()) for name, (got, want) in pairs.items()}
    print(folder, {name: f"{e:.1e}" for name, e in off.items()})
    assert max(off.values()) < 1e-6, off


def main():
    if sys.argv[1:2] == ["--check"]:
        return [check(folder) for folder in sys.argv[2:]]
    ap = arguments(__doc__)
    ap.add_argument("--shapes", default="escnet-base", help="the model: a name that `escnet bench --shapes` knows, or a folder with a config.json")
    a = ap.parse_args()
    set_up(a)
    if a.compile:
        torch._dynamo.config.recompile_limit = 256
    known = os.path.join(SHAPES, f"{a.shapes}.json")
    with open(known if os.path.exists(known) else os.path.join(a.shapes, "config.json")) as f:
        cfg = json.load(f)
    ours = {key: row for key, row in read_rows(*a.rows).items() if row["pass"] == "whole" and row["op"] in PARTS and a.only in f"{row['op']} {row['shape']}"}
    ways = {"eager": 10, **({"cudnn": 10} if a.device == "cuda" else {}), **({"compiled": 60} if a.compile else {})}
    out, left = passes(list(ours.values()), ways, lambda row, way: measured(row, way, cfg, a), a)
    end_to_end(ours, out.rows)
    sys.exit(3 if left else 0)


if __name__ == "__main__":
    main()
