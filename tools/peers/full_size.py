"""Random full-size parts and what PyTorch makes of them: python full_size.py OUT [--seed N]

OUT gets the base-size model as real checkpoints come, one file per part, plus its reference numbers:
  config.json            the base configuration (ResNet-101, BLIP-base captioner at 384 px, BERT-base, fusion of depth 2)
  resnet101.safetensors  torchvision's names, `fc` and `num_batches_tracked` included
  blip.safetensors       Hugging Face BlipForConditionalGeneration's names, the tied language-model head included
  bert.safetensors       Hugging Face BertModel's names, pooler included
  fusion.safetensors     `fusion.*`
  golden.safetensors     in.* inputs, out.* forward results in eval mode, gen.* greedy and beam-3 captions (max_length 20,
                         counting [bos]); computed in float64 from the float32 weights, stored as float32 / int64
  torch_errors.json      per tensor, the relative L2 error of PyTorch's own float32 (worst of one thread and two)
Forward only: metadata `steps` is "0".
"""
import argparse
import copy
import json
import math
import os
import time

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig, BertModel, BlipConfig, BlipForConditionalGeneration

CLASSES = ["amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness"]
CONFIG = {
    "model_type": "escnet", "classes": CLASSES, "image_size": 224, "cls_token_id": 101,
    "backbone": {"layers": [3, 4, 23, 3], "width": 64},
    "captioner": {
        "vision_config": {
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
            "image_size": 384, "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-05, "attention_dropout": 0.0},
        "text_config": {
            "vocab_size": 30524, "hidden_size": 768, "encoder_hidden_size": 768, "intermediate_size": 3072,
            "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 512, "hidden_act": "gelu",
            "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
            "bos_token_id": 30522, "pad_token_id": 0, "eos_token_id": 2, "sep_token_id": 102, "label_smoothing": 0.1}},
    "text_encoder": {
        "vocab_size": 30522, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu",
        "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "pad_token_id": 0},
    "fusion": {
        "hidden_size": 768, "num_attention_heads": 12, "mlp_ratio": 4, "depth": 2, "dropout": 0.1,
        "cross": "both", "self_attention": True, "highlight": "learned"},
    "loss": {"kind": "variable_weight", "lambda": 1.0, "gamma": 1.0, "label_smoothing": 0.0},
}
OPTIM = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.05, "clip_norm": 1.0}
SEP_BIAS = 9.0  # lifts [SEP]'s logit, so that some captions end before max_length


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))

    def forward(self, xq, xk, mask=None):
        b, lq, d = xq.shape
        q, k, v = (f(x).view(b, -1, self.heads, d // self.heads).transpose(1, 2)
                   for f, x in ((self.q, xq), (self.k, xk), (self.v, xk)))
        s = q @ k.transpose(-1, -2) / math.sqrt(d // self.heads)
        if mask is not None:
            s = s.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
        p = s.softmax(-1)
        return self.o((p @ v).transpose(1, 2).reshape(b, lq, d)), p.mean(1)


class Fusion(nn.Module):
    """The fusion module of the base configuration (learned gate, both cross-attentions, self-attention), in eval mode."""

    def __init__(self, cfg, channels, grid, text_hidden, classes):
        super().__init__()
        d, h, f = cfg["hidden_size"], cfg["num_attention_heads"], cfg["hidden_size"] * cfg["mlp_ratio"]
        self.visual_proj, self.visual_norm = nn.Linear(channels, d), nn.LayerNorm(d)
        self.visual_pos = nn.Parameter(torch.zeros(grid * grid, d))
        self.text_proj, self.text_norm = nn.Linear(text_hidden, d), nn.LayerNorm(d)
        self.highlight = nn.ModuleDict({
            "attn": Attention(d, h), "gate_t": nn.Linear(d, d, bias=False), "gate_u": nn.Linear(d, d),
            "gate_w": nn.Linear(d, 1), "norm": nn.LayerNorm(d)})
        self.blocks = nn.ModuleList(nn.ModuleDict({
            "norm_v": nn.LayerNorm(d), "norm_t": nn.LayerNorm(d), "cross_v": Attention(d, h), "cross_t": Attention(d, h),
            "norm_z": nn.LayerNorm(d), "self_attn": Attention(d, h),
            "norm_f": nn.LayerNorm(d), "fc1": nn.Linear(d, f), "fc2": nn.Linear(f, d)}) for _ in range(cfg["depth"]))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, feature_map, text, mask):
        m = mask[..., None].to(text.dtype)
        v = self.visual_norm(self.visual_proj(feature_map.flatten(2).transpose(1, 2)) + self.visual_pos)
        t = self.text_norm(self.text_proj(text))
        h = self.highlight
        u, attn = h["attn"](t, v)
        gate = torch.sigmoid(h["gate_w"](torch.tanh(h["gate_t"](t) + h["gate_u"](u)))) * m
        t = h["norm"](t + gate * u)
        n = v.shape[1]
        for b in self.blocks:
            nv, nt = b["norm_v"](v), b["norm_t"](t)
            z = torch.cat([v + b["cross_v"](nv, nt, mask)[0], t + b["cross_t"](nt, nv)[0]], 1)
            nz = b["norm_z"](z)
            z = z + b["self_attn"](nz, nz, torch.cat([mask.new_ones(v.shape[:2]), mask], 1))[0]
            z = z + b["fc2"](F.gelu(b["fc1"](b["norm_f"](z))))
            v, t = z[:, :n], z[:, n:]
        pooled = (v.sum(1) + (t * m).sum(1)) / (n + m.sum(1))
        return self.head(self.norm(pooled)), {"gate": gate[..., 0], "attn": attn, "pooled": pooled}


def spread(model, seed):
    """Fan-in scaled normals. Queries and keys are twice as wide, so that attention is far from uniform; what a block adds to
    its stream is a quarter as wide, so that tokens stay apart through twelve layers; the head's norm is three times as
    wide, so that next-word probabilities are peaked. The vision tower is included: Hugging Face would start it at 1e-10."""
    gen = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if name.endswith(("position_embedding", "class_embedding", "visual_pos")):
            p.data = 0.5 * torch.randn(p.shape, generator=gen)
        elif p.dim() >= 2:
            wide = any(s in name for s in (".query.", ".key.", ".qkv.", ".q.", ".k."))
            added = any(s in name for s in ("output.dense.", ".projection.", ".mlp.fc2.", ".o.", ".fc2."))
            gain = 2.0 if wide else 0.25 if added else 1.0
            if "crossattention.output.dense." in name:
                gain = 0.4
            p.data = torch.randn(p.shape, generator=gen) * (gain / p[0].numel() ** 0.5)
        elif name.endswith("weight"):
            p.data = 1 + 0.1 * torch.randn(p.shape, generator=gen)
            if name.endswith("cls.predictions.transform.LayerNorm.weight"):
                p.data *= 3
            if name.endswith(".bn3.weight"):
                p.data *= 0.25
        else:
            p.data = 0.05 * torch.randn(p.shape, generator=gen)
    return model


def spread_batch_norm(model, image, seed):
    """Running statistics near those of `image`, as training leaves them, each moved off by random amounts."""
    gen = torch.Generator().manual_seed(seed)

    def settle(m, args):
        var, mean = torch.var_mean(args[0], (0, 2, 3))
        m.running_mean.copy_(mean + 0.2 * var.sqrt() * torch.randn(mean.shape, generator=gen))
        m.running_var.copy_(var * (0.7 + 0.6 * torch.rand(var.shape, generator=gen)))
        m.num_batches_tracked.fill_(1000)

    hooks = [m.register_forward_pre_hook(settle) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        model.eval()(image)
    for h in hooks:
        h.remove()


def build(cfg, image, seed):
    """The four parts, float32, eval mode, eager attention."""
    resnet = spread(torchvision.models.resnet101(weights=None), seed + 1)
    spread_batch_norm(resnet, image, seed + 2)
    blip = BlipConfig(vision_config=cfg["captioner"]["vision_config"], text_config=cfg["captioner"]["text_config"])
    bert = BertConfig(**cfg["text_encoder"])
    for c in (blip, blip.vision_config, blip.text_config, bert):
        c._attn_implementation = "eager"
    blip = spread(BlipForConditionalGeneration(blip), seed + 3)
    head = blip.text_decoder.cls.predictions
    head.decoder.weight = blip.text_decoder.bert.embeddings.word_embeddings.weight
    head.decoder.bias = head.bias
    with torch.no_grad():
        head.bias[cfg["captioner"]["text_config"]["sep_token_id"]] += SEP_BIAS
    bert = spread(BertModel(bert), seed + 4)
    fusion = spread(Fusion(cfg["fusion"], 2048, cfg["image_size"] // 32, bert.config.hidden_size, len(cfg["classes"])), seed + 5)
    return {"resnet101": resnet.eval(), "blip": blip.eval(), "bert": bert.eval(), "fusion": fusion.eval()}


def inputs(cfg, batch, seed, length=12):
    gen = torch.Generator().manual_seed(seed)
    t = cfg["captioner"]["text_config"]
    ids, mask = torch.full((batch, length), t["pad_token_id"]), torch.zeros(batch, length, dtype=torch.long)
    for i in range(batch):
        n = length - 4 * (i % 2)  # ragged
        ids[i, 0], ids[i, n - 1], mask[i, :n] = cfg["cls_token_id"], t["sep_token_id"], 1
        ids[i, 1 : n - 1] = torch.randint(1000, cfg["text_encoder"]["vocab_size"], (n - 2,), generator=gen)
    lm_ids = ids.clone()
    lm_ids[:, 0] = t["bos_token_id"]

    def picture(side):  # smooth blobs and noise, so that the two images differ at every scale
        low = F.interpolate(torch.randn(batch, 3, 6, 6, generator=gen), size=side, mode="bicubic")
        return low + 0.5 * torch.randn(batch, 3, side, side, generator=gen)

    s, cs = cfg["image_size"], cfg["captioner"]["vision_config"]["image_size"]
    return {
        "image": picture(s), "caption_image": picture(cs),
        "caption_ids": ids, "caption_mask": mask, "lm_ids": lm_ids, "lm_labels": lm_ids.masked_fill(mask == 0, -100),
        "labels": torch.randint(0, len(cfg["classes"]), (batch,), generator=gen),
        "word_affect": torch.rand(ids.shape, generator=gen) * mask,
    }


@torch.no_grad()
def evaluate(parts, x):
    """Every golden result, in the precision of the parts. An entry is called to give the module."""
    g = {}
    net = parts["resnet101"]()
    y = g["out.backbone.stem"] = net.maxpool(net.relu(net.bn1(net.conv1(x["image"]))))
    for i in range(1, 5):
        y = g[f"out.backbone.layer{i}"] = getattr(net, f"layer{i}")(y)
    del net
    text = parts["bert"]()(input_ids=x["caption_ids"], attention_mask=x["caption_mask"]).last_hidden_state
    g["out.text"] = text
    g["out.logits"], extra = parts["fusion"]()(y, text, x["caption_mask"])
    g["out.probs"] = g["out.logits"].softmax(-1)
    g.update({f"out.fusion.{k}": v for k, v in extra.items()})
    blip = parts["blip"]()
    vis = g["out.captioner.vision"] = blip.vision_model(x["caption_image"]).last_hidden_state
    g["out.captioner.logits"] = blip.text_decoder(
        input_ids=x["lm_ids"], attention_mask=x["caption_mask"], encoder_hidden_states=vis).logits
    for name, beams in (("greedy", 1), ("beam3", 3)):
        r = blip.generate(pixel_values=x["caption_image"], do_sample=False, max_length=20, num_beams=beams,
                          return_dict_in_generate=True, output_scores=True)
        g[f"gen.{name}.ids"] = r.sequences
        if beams > 1:
            g[f"gen.{name}.score"] = r.sequences_scores
    return g


def save(tensors, path, metadata=None):
    save_file({n: t.detach().clone().contiguous() for n, t in tensors.items()}, path, metadata=metadata)
    print(f"{os.path.basename(path)}: {os.path.getsize(path) / 1e6:.1f} MB", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--seed", type=int, default=0)
    a = ap.parse_args()
    began = time.time()
    torch.set_num_threads(2)
    os.makedirs(a.out, exist_ok=True)
    with open(os.path.join(a.out, "config.json"), "w") as f:
        json.dump(CONFIG, f, indent=1)
    x = inputs(CONFIG, 2, 1000 * a.seed + 7)
    parts = build(CONFIG, x["image"], 1000 * a.seed)
    for name, m in parts.items():
        prefix = "fusion." if name == "fusion" else ""
        save({prefix + k: v for k, v in m.state_dict().items()}, os.path.join(a.out, f"{name}.safetensors"),
             {"format": "pt"})
    print(f"weights after {time.time() - began:.0f} s", flush=True)

    wide = lambda v: v.double() if v.is_floating_point() else v
    exact = evaluate({n: lambda m=m: copy.deepcopy(m).double() for n, m in parts.items()}, {k: wide(v) for k, v in x.items()})
    print(f"float64 after {time.time() - began:.0f} s", flush=True)
    errors = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for k, v in evaluate({n: lambda m=m: m for n, m in parts.items()}, x).items():
            if v.is_floating_point():
                e = float((v.double() - exact[k]).norm() / exact[k].norm().clamp_min(1e-30))
                errors[k] = {"f32": float(f"{max(e, errors.get(k, {}).get('f32', 0.0)):.3g}")}
            elif not torch.equal(v, exact[k]):
                print(f"note: {k} differs between float32 ({threads} threads) and float64", flush=True)
    with open(os.path.join(a.out, "torch_errors.json"), "w") as f:
        json.dump(errors, f, indent=0)
    g = {**{f"in.{k}": v for k, v in x.items()}, **exact}
    g = {k: v.float() if v.is_floating_point() else v.long() for k, v in g.items()}
    save(g, os.path.join(a.out, "golden.safetensors"),
         {"seed": str(a.seed), "optim": json.dumps(OPTIM), "steps": "0", "torch": torch.__version__})
    for k, v in g.items():
        if k.startswith("gen.") or k in ("out.probs", "out.fusion.gate"):
            print(k, v.tolist())
    print({k: e["f32"] for k, e in errors.items()})
    print(f"done after {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
