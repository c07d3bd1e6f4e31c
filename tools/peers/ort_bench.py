"""ONNX Runtime on ResNet-50: python ort_bench.py MODEL.onnx [--threads 2] [--iters 40] [--seconds 20]

MODEL.onnx comes from export_resnet50.py. Prints one JSON row per batch size (1 and 8), each measured in a fresh process."""
import argparse
import json

from common import in_fresh_process, numbers, peak_rss_mb, timed


def measure(a):
    import numpy as np
    import onnxruntime as ort

    o = ort.SessionOptions()
    o.intra_op_num_threads, o.inter_op_num_threads = a.threads, 1
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    s = ort.InferenceSession(a.model, o, providers=["CPUExecutionProvider"])
    x = {"image": numbers((a.batch, 3, 224, 224))}
    out = s.run(None, x)[0]
    ms = timed(lambda: s.run(None, x), a.iters, a.seconds)
    print(json.dumps({"peer": "onnxruntime", "name": "resnet50_infer", "batch": a.batch, "threads": a.threads, "ms": ms,
                      "peak_rss_mb": peak_rss_mb(), "check": round(float(np.linalg.norm(out.astype(np.float64))), 6),
                      "variant": f"onnxruntime {ort.__version__}, all graph optimisations"}))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--iters", type=int, default=40)
    ap.add_argument("--seconds", type=float, default=20, help="most seconds of timing per row")
    ap.add_argument("--batch", type=int, help="measure this batch size in this process")
    a = ap.parse_args()
    if a.batch:
        return measure(a)
    for batch in (1, 8):
        row = in_fresh_process(__file__, [a.model, "--threads", a.threads, "--iters", a.iters, "--seconds", a.seconds, "--batch", batch])
        if row:
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
