"""The whole model in PyTorch, at any size: python tiny_escnet.py GOLDEN... checks it against golden folders.

The backbone is written here (torchvision's has no width), the captioner and the text encoder are Hugging Face's, the fusion is
`full_size.py`'s, which has the default switches alone and no dropout. Names of parameters are the checkpoint's.
"""
import json
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from transformers import BertConfig, BertModel, BlipConfig, BlipForConditionalGeneration

from full_size import Fusion

PARTS = {"caption": ("captioner.",), "classify": ("backbone.", "text_encoder.", "fusion.")}


class Bottleneck(nn.Module):
    """ResNet v1.5: the stride sits on the 3x3 convolution."""

    def __init__(self, channels, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride != 1 or channels != 4 * planes:
            self.downsample = nn.Sequential(nn.Conv2d(channels, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """[B, 3, S, S] -> [B, 32 width, S/32, S/32]"""

    def __init__(self, layers, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        channels = width
        for i, depth in enumerate(layers):
            blocks = []
            for j in range(depth):
                blocks.append(Bottleneck(channels, width << i, 2 if i and not j else 1))
                channels = 4 * (width << i)
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Escnet(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        c, t = cfg["captioner"], BertConfig(**cfg["text_encoder"])
        blip = BlipConfig(vision_config=c["vision_config"], text_config=c["text_config"])
        for part in (blip, blip.vision_config, blip.text_config, t):
            part._attn_implementation = "eager"
        self.backbone = ResNet(cfg["backbone"]["layers"], cfg["backbone"]["width"])
        self.captioner = BlipForConditionalGeneration(blip)
        self.text_encoder = BertModel(t, add_pooling_layer=False)
        self.fusion = Fusion(cfg["fusion"], 32 * cfg["backbone"]["width"], cfg["image_size"] // 32, t.hidden_size, len(cfg["classes"]))
        head = self.captioner.text_decoder.cls.predictions
        head.decoder.weight = self.captioner.text_decoder.bert.embeddings.word_embeddings.weight
        head.decoder.bias = head.bias

    def parts(self, stage):
        """The parameters that a stage trains, by name."""
        return {n: p for n, p in self.named_parameters() if n.startswith(PARTS[stage])}

    def tensors(self):
        """What a checkpoint holds: no counters, no position ids, the tied head once."""
        aside = ("num_batches_tracked", "position_ids", "predictions.decoder.weight", "predictions.decoder.bias")
        return {n: v for n, v in self.state_dict().items() if not n.endswith(aside)}

    def loss(self, stage, x):
        """The mean loss of a batch, in training: label smoothing as configured for captions, the variable weight for classes."""
        if stage == "caption":
            return self.captioner(pixel_values=x["caption_image"], input_ids=x["lm_ids"], attention_mask=x["caption_mask"],
                                  labels=x["lm_ids"].masked_fill(x["caption_mask"] == 0, -100)).loss
        text = self.text_encoder(input_ids=x["caption_ids"], attention_mask=x["caption_mask"]).last_hidden_state
        logits, _ = self.fusion(self.backbone(x["image"]), text, x["caption_mask"])
        ce = F.cross_entropy(logits, x["labels"], reduction="none")
        p = logits.softmax(-1).gather(1, x["labels"][:, None])[:, 0]
        weight = 1 + self.cfg["loss"]["lambda"] * (1 - p) ** self.cfg["loss"]["gamma"]
        return (weight.detach() * ce).mean()


def load(folder):
    """The model of a folder, float32, without dropout's or any other switch touched."""
    with open(os.path.join(folder, "config.json")) as f:
        model = Escnet(json.load(f))
    stored = load_file(os.path.join(folder, "model.safetensors"))
    assert stored.keys() == model.tensors().keys(), stored.keys() ^ model.tensors().keys()
    model.load_state_dict(stored, strict=False)
    return model


def check(folder):
    """Losses and gradients of the first step of both stages, in float64, against a golden folder's."""
    golden = load_file(os.path.join(folder, "golden.safetensors"))
    x = {n[3:]: v.double() if v.is_floating_point() else v for n, v in golden.items() if n.startswith("in.")}
    worst = 0.0
    for stage in PARTS:
        model = load(folder).double().train()
        loss = model.loss(stage, x)
        loss.backward()
        pairs = [(f"loss.{stage}", loss.detach())]
        pairs += [(f"grad.{stage}.{n}", p.grad) for n, p in model.parts(stage).items() if f"grad.{stage}.{n}" in golden]
        whole = max(float(golden[n].norm()) for n, _ in pairs)
        for name, got in pairs:
            want = golden[name].double()
            got = got.norm() if want.dim() == 0 and got.dim() else got
            worst = max(worst, float((got - want).norm()) / max(float(want.norm()), 1e-6 * whole))
        print(f"{folder}: {stage}: {len(pairs)} tensors")
    assert worst < 1e-6, worst
    print(f"{folder}: at most {worst:.1e} apart")


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        check(folder)
