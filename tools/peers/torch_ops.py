"""PyTorch on the operators that `escnet bench` measured: python torch_ops.py ROWS... [--device cuda|cpu] [--compile] [--time 3] > torch.json

ROWS is what `escnet bench -o json` (or csv) wrote. Each row that PyTorch computes is measured on tensors of the same extents and types, in the same
memory (`cold`: turns are taken on copies that no cache holds), and written with the same key, so that `escnet bench compare torch.json ROWS` and
`escnet bench --against torch.json` join them. Where several ways are tried (layouts, attention backends, with --compile also torch.compile with
max-autotune), the fastest makes the row, `kernels` names it and says what the others took. f32 is f32, not TF32. On CUDA a sample is a replay of one graph of all copies, timed by events; on a CPU the
host's clock around all copies. Numbers are normal.

A backward pass is measured alone: by PyTorch's own backward operator where it has one to call, else by autograd on a forward pass done before.
"""
import argparse
import datetime
import math
import re
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from common import KEY, Deadline, Rows, read_rows

MODE = "max-autotune-no-cudagraphs"
BEYOND_CACHES, MOST_COPIES = 192 << 20, 256
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "i32": torch.int64}
aten = torch.ops.aten


class Row:
    """A row with its extents, types and attributes taken apart. Tensors are made on `device`."""

    def __init__(self, row, device):
        self.row, self.device = row, device
        self.label = row["op"] if row["pass"] == "forward" else f"{row['op']}.{row['pass']}"
        self.shapes, self.types = [], []
        for word in row["shape"].split():
            if word.startswith("+"):
                continue
            kind, _, extents = word.rpartition(":")
            self.shapes.append([int(n) for n in extents.split("x")])
            self.types.append(TYPES[kind or "f32"])
        self.bytes = max(1, int(float(row["gbps"]) * float(row["us"]) * 1e3))
        self.flops = float(row["gflops"]) * float(row["us"]) * 1e3

    def number(self, name, default=None):
        found = re.search(rf"\b{name}: (?:Some\()?(-?[\d.]+(?:e-?\d+)?)", self.row["attributes"])
        return float(found[1]) if found else default

    def has(self, text):
        return text in self.row["attributes"]

    def normal(self, i=None, shape=None, dtype=None):
        made = torch.randn(self.shapes[i] if shape is None else shape, device=self.device)
        return made.to(dtype or self.types[0 if i is None else i])

    def below(self, n, shape):
        return torch.randint(0, n, shape, device=self.device)


def nchw(t, channels_last):
    """[.., H, W, C] as PyTorch's [.., C, H, W], the numbers lying as before or turned."""
    t = t.permute(0, 3, 1, 2)
    return t if channels_last else t.contiguous()


def backward_of(f, inputs, cotangent):
    """The gradients of `inputs` through a forward pass that is done here, once."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    y = f(*leaves)
    return lambda: torch.autograd.grad(y, leaves, cotangent, retain_graph=True)


def conv_ways(r):
    return {"channels_last": True, "contiguous": False}


def conv2d(r, channels_last):
    x, w = nchw(r.normal(0), channels_last), nchw(r.normal(1), channels_last)
    bias = r.normal(2) if r.has("bias: true") else None
    residual = nchw(r.normal(len(r.shapes) - 1), channels_last) if r.has("residual: true") else None
    stride, padding, relu = int(r.number("stride")), int(r.number("padding")), r.has("Relu")

    def f(x, w):
        y = F.conv2d(x, w, bias, stride, padding)
        y = y if residual is None else y + residual
        return F.relu(y) if relu else y

    return f, (x, w)


def conv2d_backward(r, channels_last):
    """Inputs: dy with the filters, or dy with x."""
    stride, padding = int(r.number("stride")), int(r.number("padding"))
    dy = nchw(r.normal(0), channels_last)
    if r.row["pass"] == "backward_input":
        w = nchw(r.normal(1), channels_last)
        h, wide = map(int, re.search(r"size: \[(\d+), (\d+)\]", r.row["attributes"]).groups())
        x = nchw(r.normal(shape=[dy.shape[0], h, wide, w.shape[1]]), channels_last)
        wants = [True, False, False]
    else:
        x = nchw(r.normal(1), channels_last)
        h, wide = map(int, re.search(r"kernel: \[(\d+), (\d+)\]", r.row["attributes"]).groups())
        w = nchw(r.normal(shape=[dy.shape[1], h, wide, x.shape[1]]), channels_last)
        wants = [False, True, False]

    def f(dy, x, w):
        return aten.convolution_backward(dy, x, w, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wants)

    return f, (dy, x, w)


def linear(r, _):
    x, w, bias = r.normal(0), r.normal(1), r.normal(2) if len(r.shapes) > 2 else None
    act = F.gelu if r.has("Gelu") else F.relu if r.has("Relu") else None
    return (lambda x: F.linear(x, w, bias) if act is None else act(F.linear(x, w, bias))), (x,)


def linear_backward_input(r, _):
    return torch.matmul, (r.normal(0), r.normal(1))


def linear_backward_weight(r, _):
    rows = lambda t: t.reshape(-1, t.shape[-1])
    return (lambda dy, x: (rows(dy).t() @ rows(x), rows(dy).sum(0))), (r.normal(0), r.normal(1))


def matmul(r, _):
    return torch.matmul, (r.normal(0), r.normal(1))


BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}


def attention_ways(r):
    return BACKENDS if r.device == "cuda" else {"flash": BACKENDS["flash"], "math": BACKENDS["math"]}


def qkv(r, first):
    """[B, H, L, D] of what lies as [B, L, H D] or, fused, as [B, L, 3 H D]; queries of a group share their keys by lying side by side."""
    heads = int(r.number("heads"))
    shapes = r.shapes[first:]
    if r.has("fused: true"):
        b, length, wide = shapes[0]
        return r.normal(first).view(b, length, 3, heads, wide // (3 * heads)).permute(2, 0, 3, 1, 4).unbind(0)
    q, k, v = (r.normal(first + i) for i in range(3))
    split = lambda t: t.view(*t.shape[:2], heads, t.shape[2] // heads).transpose(1, 2)
    if q.shape[0] != k.shape[0]:
        q = q.view(k.shape[0], -1, q.shape[2])
    return split(q), split(k), split(v)


def attended(r, first, way):
    q, k, v = qkv(r, first)
    mask = None
    if r.has("mask: true") and way != BACKENDS["flash"]:
        mask = torch.ones([k.shape[0], 1, 1, k.shape[2]], dtype=torch.bool, device=r.device)
    elif r.has("mask: true"):
        return None  # flash takes no mask
    if r.has("mean_probabilities: true"):
        return None  # PyTorch's attention does not give them
    causal, scale, dropout = r.has("causal: true"), r.number("scale"), r.number("dropout", 0.0)
    if causal and mask is not None:
        mask = mask & torch.ones([q.shape[2], k.shape[2]], dtype=torch.bool, device=r.device).tril()
        causal = False

    def f(q, k, v):
        with sdpa_kernel(way):
            return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale=scale)

    return f, (q, k, v)


def attention(r, way):
    return attended(r, 0, way)


def attention_backward(r, way):
    made = attended(r, 3, way)
    if made is None:
        return None
    f, inputs = made
    return backward_of(f, inputs, torch.randn_like(inputs[0])), ()


def layernorm(r, _):
    return (lambda x, w, b: F.layer_norm(x, w.shape, w, b, r.number("eps"))), (r.normal(0), r.normal(1), r.normal(2))


def add_layernorm(r, _):
    def f(x, residual, w, b):
        total = x + residual
        return total, F.layer_norm(total, w.shape, w, b, r.number("eps"))

    return f, tuple(r.normal(i) for i in range(4))


def layernorm_backward(r, _):
    dy, x = r.normal(0), r.normal(1)
    wants = [True, False, False] if r.row["pass"] == "backward_input" else [False, True, True]
    width = [x.shape[-1]]
    w, b = r.normal(shape=width), r.normal(shape=width)
    _, mean, rstd = aten.native_layer_norm(x, width, w, b, 1e-5)
    return (lambda dy, x: aten.native_layer_norm_backward(dy, x, width, mean, rstd, w, b, wants)), (dy, x)


def normalised(r):
    """What batch norm in training computes of x, w, b and, where there is one, a residual."""
    relu = r.has("Relu")

    def f(x, w, b, residual=None):
        y = F.batch_norm(x, None, None, w, b, True, 0.1, 1e-5)
        y = y if residual is None else y + residual
        return F.relu(y) if relu else y

    return f


def batchnorm(r, _):
    residual = (nchw(r.normal(3), True),) if r.has("residual: true") else ()
    return normalised(r), (nchw(r.normal(0), True), r.normal(1), r.normal(2), *residual)


def batchnorm_backward(r, _):
    residual = (nchw(r.normal(1), True),) if r.has("residual: true") else ()
    return backward_of(normalised(r), (nchw(r.normal(1), True), r.normal(2), r.normal(3), *residual), nchw(r.normal(0), True)), ()


def loss(r, logits):
    rows, classes = logits.shape
    labels = r.below(classes, [rows])
    return lambda logits: F.cross_entropy(logits, labels, ignore_index=-100, label_smoothing=r.number("label_smoothing", 0.0))


def cross_entropy(r, _):
    logits = r.normal(0)
    return loss(r, logits), (logits,)


def cross_entropy_backward(r, _):
    logits = r.normal(1)
    return backward_of(loss(r, logits), (logits,), torch.ones([], device=r.device, dtype=logits.dtype)), ()


def adamw(r, _):
    """As many parameters in equal tensors, which is easier than those of a model."""
    count = max(1, round(r.bytes / 28 / (768 * 768)))
    parameters = [torch.nn.Parameter(r.normal(shape=[768, 768])) for _ in range(count)]
    for p in parameters:
        p.grad = torch.randn_like(p)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05, fused=True, **({"capturable": True} if r.device == "cuda" else {}))
    return optimizer.step, ()


def unary(f):
    return lambda r, _: (f, (r.normal(0),))


def gradient(f):
    """Inputs: dy and x."""
    return lambda r, _: (f, (r.normal(0), r.normal(1)))


def last(f):
    return lambda r, _: ((lambda x: f(x, -1)), (r.normal(0),))


def maxpool2d(r, _):
    k, s, p = (int(r.number(n)) for n in ("kernel", "stride", "padding"))
    return (lambda x: F.max_pool2d(x, k, s, p)), (nchw(r.normal(0), True),)


def embedding_backward_table(r, _):
    dy, rows = r.normal(0), int(r.number("rows"))
    ids = r.below(rows, dy.shape[:-1])
    return (lambda dy: aten.embedding_dense_backward(dy, ids, rows, -1, False)), (dy,)


# What computes a row: f and its inputs, None where PyTorch has no way; and the ways to try.
ONE = lambda r: {"eager": None}
OPS = {
    "conv2d": (conv2d, conv_ways), "conv2d.backward_input": (conv2d_backward, conv_ways), "conv2d.backward_weight": (conv2d_backward, conv_ways),
    "linear": (linear, ONE), "linear.backward_input": (linear_backward_input, ONE), "linear.backward_weight": (linear_backward_weight, ONE),
    "matmul": (matmul, ONE), "attention": (attention, attention_ways), "attention.backward": (attention_backward, attention_ways),
    "layernorm": (layernorm, ONE), "add_layernorm": (add_layernorm, ONE),
    "layernorm.backward_input": (layernorm_backward, ONE), "layernorm.backward_weight": (layernorm_backward, ONE),
    "batchnorm.training": (batchnorm, ONE), "batchnorm.training_backward": (batchnorm_backward, ONE),
    "cross_entropy": (cross_entropy, ONE), "cross_entropy.backward": (cross_entropy_backward, ONE), "adamw": (adamw, ONE),
    "softmax": (last(torch.softmax), ONE), "log_softmax": (last(torch.log_softmax), ONE), "gelu": (unary(F.gelu), ONE), "relu": (unary(F.relu), ONE),
    "gelu.backward": (gradient(aten.gelu_backward), ONE), "relu.backward": (gradient(lambda dy, y: aten.threshold_backward(dy, y, 0)), ONE),
    "add": (gradient(torch.add), ONE), "maxpool2d": (maxpool2d, ONE), "embedding.backward_table": (embedding_backward_table, ONE),
}


def samples(run, device, most):
    """Seconds of runs by the device's clock and by the host's: at least ten and half a second, until the mean is known to half a percent or time is over."""
    device_s, host_s, start = [], [], time.perf_counter()
    while True:
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            t = time.perf_counter()
            begin.record(), run(), end.record()
            torch.cuda.synchronize()
            host_s.append(time.perf_counter() - t)
            device_s.append(begin.elapsed_time(end) * 1e-3)
        else:
            t = time.perf_counter()
            run()
            host_s.append(time.perf_counter() - t)
            device_s.append(host_s[-1])
        spent, n = time.perf_counter() - start, len(device_s)
        quiet = n >= 10 and spent >= 0.5 and statistics.stdev(device_s) / math.sqrt(n) <= 0.005 * statistics.mean(device_s)
        if quiet or (spent >= most and n >= 5):
            return device_s, host_s, quiet


def once(copies, device):
    """All copies, one after another; on CUDA one graph of them."""
    run = lambda: [f(*inputs) for f, inputs in copies]
    if device != "cuda":
        run()
        return run
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        run()
    graph.replay()
    torch.cuda.synchronize()
    return graph.replay


def summary(device_s, host_s, quiet, copies=1):
    us = sorted(s * 1e6 / copies for s in device_s)
    at = lambda q: us[min(len(us) - 1, int(q * (len(us) - 1) + 0.5))]
    return {"us": at(0.5), "p5": at(0.05), "p95": at(0.95), "host_us": statistics.median(host_s) * 1e6 / copies, "samples": len(us), "quiet": quiet}


def measure(r, make, way, compiled, most):
    copies = 1 if r.row["memory"] == "hot" and r.bytes * MOST_COPIES >= BEYOND_CACHES else min(MOST_COPIES, max(1, math.ceil(BEYOND_CACHES / r.bytes)))
    made = [make(r, way) for _ in range(copies)]
    if made[0] is None:
        return None
    if compiled:
        f = torch.compile(made[0][0], mode=MODE, dynamic=False)
        made = [(f, inputs) for _, inputs in made]
    return summary(*samples(once(made, r.device), r.device, most), copies)


def best(r, compiled, most):
    """The fastest of an operator's ways, `compiled` by torch.compile or not; None where there is none."""
    make, ways = OPS[r.label]
    found = []
    for name, way in ways(r).items():
        try:
            took = measure(r, make, way, compiled, most)
        except Exception as e:  # a backend that does not take these types or extents; one that fails is no reason to lose the rest
            print(f"{r.label} {r.row['shape']} {name}: {type(e).__name__}: {str(e).strip()[:200]}", file=sys.stderr)
            took = None
        if took:
            found.append({**took, "kernels": name + (" compiled" if compiled else "")})
    return min(found, key=lambda took: took["us"], default=None)


def processor():
    """What the engine's rows call it: the model's name and the widest vectors, where Linux tells."""
    vectors = {"AVX512": "AVX-512"}.get(known := torch.backends.cpu.get_cpu_capability(), known)
    try:
        line = next(line for line in open("/proc/cpuinfo") if line.startswith("model name"))
    except (OSError, StopIteration):
        return ""
    return f"{' '.join(line.split(':', 1)[1].split())}, {vectors}, "


def arguments(about):
    """What the programs that measure beside rows are asked, and PyTorch set up by it."""
    ap = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("rows", nargs="+")
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cuda", "cpu"])
    ap.add_argument("--compile", action="store_true", help="try torch.compile as well, after all else (needs a C++ compiler; slow to start)")
    ap.add_argument("--threads", type=int, default=2, help="of a CPU")
    ap.add_argument("--time", type=float, default=3, help="most seconds of timing for each way")
    ap.add_argument("--until", type=float, default=0, help="seconds after which nothing more is begun; exit code 3 where something is left")
    ap.add_argument("--append", metavar="CSV", help="rows go to this file, one by one, instead of to stdout; those that it has are not measured again")
    ap.add_argument("--only", default="", help="only rows in whose name or shape this stands")
    return ap


def set_up(a):
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    # The engine's f32 is f32. cuDNN's convolutions would take TF32 unless told.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def told(row, took, a):
    """The row of PyTorch beside `row`. The work is the engine's count of it."""
    name = torch.cuda.get_device_name() if a.device == "cuda" else f"cpu ({processor()}{a.threads} threads)"
    rate = lambda rate: float(row[rate]) * float(row["us"]) / took["us"]
    return {**{k: row[k] for k in (*KEY, "part")}, "uses": int(row["uses"]), "date": datetime.date.today().isoformat(),
            "commit": f"torch {torch.__version__}", "device": name, "threads": a.threads, **took,
            "gflops": rate("gflops"), "gbps": rate("gbps"), "roof": None, "bound": None, "error": None, "others": 0.0, "clocks": ""}


def passes(rows, ways, measure, a):
    """Measures `rows` by one of `ways` after the other, so that the first of them are had where time is short: `measure(row, way)` gives what it took or None.
    `ways` has the seconds to expect of each. The fastest makes the row; `kernels` names it, then what each way took. Says how many measurements are left."""
    out, deadline, longest, left = Rows(a.append), Deadline(a.until), dict(ways), 0
    for way in ways:
        for row in rows:
            known = out.of(row)
            name, *tried = known["kernels"].split("; ") if known else [None]
            if any(took.startswith(f"{way}: ") for took in tried):
                continue
            if not deadline.allows(longest[way]):
                left += 1
                continue
            began = time.perf_counter()
            took = measure(row, way)
            longest[way] = max(longest[way], time.perf_counter() - began)
            if took is None and known is None:
                continue
            tried.append(f"{way}: {took['us']:.2f} us" if took else f"{way}: none")
            is_better = took and (known is None or took["us"] < float(known["us"]))
            fastest = {**(told(row, took, a) if is_better else known), "kernels": "; ".join([took["kernels"] if is_better else name, *tried])}
            out.add(fastest)
            print(f"{row['op']} {row['pass']} {row['shape']} {row['dtype']}: {float(fastest['us']):.2f} us by {fastest['kernels']}; escnet {float(row['us']):.2f}",
                  file=sys.stderr, flush=True)
    out.finish()
    if left:
        print(f"time is over: {left} measurements are left", file=sys.stderr)
    return out, left


def main():
    a = arguments(__doc__).parse_args()
    set_up(a)
    rows = [row for row in read_rows(*a.rows).values() if (label := Row(row, a.device).label) in OPS and a.only in f"{label} {row['shape']}"]

    def measured(row, way):
        r = Row(row, a.device)
        # Autograd's graph is made before, so that there is nothing left to compile of a backward pass.
        return None if way == "compiled" and ("backward" in r.label or r.label == "adamw") else best(r, way == "compiled", a.time)

    _, left = passes(rows, {"eager": 3, **({"compiled": 20} if a.compile else {})}, measured, a)
    sys.exit(3 if left else 0)


if __name__ == "__main__":
    main()
