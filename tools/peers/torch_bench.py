"""PyTorch on the engine's workloads: python torch_bench.py [--threads 2] [--only NAME] [--compile] [--iters 40] [--seconds 20]

Prints one JSON row per workload. Where several ways of running it are tried (memory layouts, batch norm folded into the
convolutions, weights repacked, with --compile also torch.compile), each is measured in its own fresh process, the fastest median makes the
row, `variant` names it and `tried` lists the rest. Weights are random: speed and memory do not depend on them.

  resnet50_infer        torchvision's resnet50, eval, batch 1 and 8
  resnet50_train_step   batch 8, train mode: forward, cross-entropy, backward, SGD with momentum 0.9
  blip_encoder          the captioner's vision tower (ViT-B/16, 384 px), batch 1
  blip_caption          batch 1: vision tower, then Hugging Face generate, greedy, cached, exactly 20 new tokens after [bos]
  blip_decode           the same 20 tokens without the vision tower, its result given (what remains is 20 decoder steps)
  bert_encoder          BERT-base without pooler, batch 1, 32 tokens
"""
import argparse
import json

from common import in_fresh_process, numbers, peak_rss_mb, timed

CONV = ["contiguous", "channels_last", "fused", "fused+channels_last", "fused+mkldnn"]
ROWS = [  # name, batch, ways
    ("resnet50_infer", 1, CONV), ("resnet50_infer", 8, CONV),
    ("resnet50_train_step", 8, ["contiguous", "channels_last"]),
    ("blip_encoder", 1, ["eager"]), ("blip_caption", 1, ["eager"]), ("blip_decode", 1, ["eager"]),
    ("bert_encoder", 1, ["eager", "sdpa"]),
]
COMPILE = {"resnet50_infer": "fused+channels_last+compile", "blip_encoder": "eager+compile", "bert_encoder": "sdpa+compile"}
NEW_TOKENS = 20


def resnet(way, batch, train):
    import torch
    import torchvision
    from torch.fx.experimental.optimization import fuse

    net = torchvision.models.resnet50(weights=None).train(train)
    layout = torch.channels_last if "channels_last" in way else torch.contiguous_format
    if "fused" in way:
        net = fuse(net)
    if "mkldnn" in way:  # weights repacked once, activations kept in the library's own blocked layout
        from torch.utils import mkldnn

        net, x = mkldnn.to_mkldnn(net), torch.from_numpy(numbers((batch, 3, 224, 224)))
        return lambda: net(x.to_mkldnn()).to_dense()
    net = net.to(memory_format=layout)
    x = torch.from_numpy(numbers((batch, 3, 224, 224))).contiguous(memory_format=layout)
    if not train:
        if "compile" in way:
            net = torch.compile(net)
        return lambda: net(x)
    labels = torch.arange(batch) * 37 % 1000
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step():
        opt.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        opt.step()
        return loss.detach()

    return step


def blip(name, way, batch):
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration

    model = BlipForConditionalGeneration(BlipConfig(
        vision_config={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                       "image_size": 384, "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-5},
        text_config={"vocab_size": 30524, "hidden_size": 768, "encoder_hidden_size": 768, "intermediate_size": 3072,
                     "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 512,
                     "hidden_act": "gelu", "layer_norm_eps": 1e-12, "bos_token_id": 30522, "pad_token_id": 0,
                     "eos_token_id": 2, "sep_token_id": 102})).eval()
    for n, p in model.vision_model.named_parameters():  # Hugging Face starts this tower at 1e-10, down among denormals
        if p.dim() >= 2:
            p.data.normal_(0, 0.02)
    x = torch.from_numpy(numbers((batch, 3, 384, 384)))
    if name == "blip_encoder":
        tower = torch.compile(model.vision_model) if "compile" in way else model.vision_model
        return lambda: tower(x).last_hidden_state
    length = {"do_sample": False, "num_beams": 1, "use_cache": True, "min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS}

    if name == "blip_caption":
        def caption():
            ids = model.generate(pixel_values=x, **length)
            assert ids.shape == (batch, 1 + NEW_TOKENS)
            return ids.float()
        return caption

    vis = model.vision_model(x).last_hidden_state
    seen = torch.ones(vis.shape[:2], dtype=torch.long)
    bos = torch.full((batch, 1), 30522)

    def decode():
        ids = model.text_decoder.generate(input_ids=bos, eos_token_id=102, pad_token_id=0, encoder_hidden_states=vis,
                                          encoder_attention_mask=seen, **length)
        assert ids.shape == (batch, 1 + NEW_TOKENS)
        return ids.float()

    return decode


def bert(way, batch):
    import torch
    from transformers import BertConfig, BertModel

    cfg = BertConfig()
    cfg._attn_implementation = "sdpa" if "sdpa" in way else "eager"
    model = BertModel(cfg, add_pooling_layer=False).eval()
    if "compile" in way:
        model = torch.compile(model)
    ids = (torch.arange(32) * 7919 % 29000 + 1000).repeat(batch, 1)
    mask = torch.ones_like(ids)
    return lambda: model(input_ids=ids, attention_mask=mask).last_hidden_state


def measure(a):
    import torch

    if a.only.startswith("resnet50"):
        import torchvision  # noqa: F401
    else:
        from transformers import BertModel, BlipForConditionalGeneration  # noqa: F401
    imported = peak_rss_mb()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    train = a.only == "resnet50_train_step"
    with torch.set_grad_enabled(train):
        f = (resnet(a.way, a.batch, train) if a.only.startswith("resnet50") else
             bert(a.way, a.batch) if a.only == "bert_encoder" else blip(a.only, a.way, a.batch))
    with torch.set_grad_enabled(True) if train else torch.inference_mode():
        check = float(f().double().norm())
        ms = timed(f, a.iters, a.seconds)
    print(json.dumps({"peer": "torch", "name": a.only, "batch": a.batch, "threads": a.threads, "ms": ms,
                      "peak_rss_mb": peak_rss_mb(), "imported_rss_mb": imported, "check": round(check, 6), "variant": a.way}))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--only", choices=sorted({n for n, _, _ in ROWS}))
    ap.add_argument("--compile", action="store_true", help="try torch.compile as well (needs a C++ compiler; slow to start)")
    ap.add_argument("--iters", type=int, default=40)
    ap.add_argument("--seconds", type=float, default=20, help="most seconds of timing per process")
    ap.add_argument("--batch", type=int, help="with --only and --way: measure in this process")
    ap.add_argument("--way")
    a = ap.parse_args()
    if a.way:
        return measure(a)
    for name, batch, ways in ROWS:
        if a.only not in (None, name) or a.batch not in (None, batch):
            continue
        ways = ways + [COMPILE[name]] if a.compile and name in COMPILE else ways
        rows = [in_fresh_process(__file__, ["--only", name, "--batch", batch, "--way", w, "--threads", a.threads,
                                            "--iters", a.iters, "--seconds", a.seconds]) for w in ways]
        rows = sorted((r for r in rows if r), key=lambda r: r["ms"]["median"])
        if rows:
            print(json.dumps({**rows[0], "tried": {r["variant"]: {**r["ms"], "peak_rss_mb": r["peak_rss_mb"]} for r in rows[1:]}}), flush=True)


if __name__ == "__main__":
    main()
