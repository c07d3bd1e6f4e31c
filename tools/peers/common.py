"""What every program here shares: the input, the timing loop, one fresh process per row."""
import json
import os
import subprocess
import sys
import time


def numbers(shape):
    """The same fixed input everywhere: whole numbers in a fixed pattern, scaled to [-1, 1]."""
    import numpy as np

    n = int(np.prod(shape))
    return (((np.arange(n, dtype=np.int64) * 7919) % 2001).astype(np.float32) / 1000 - 1).reshape(shape)


def busy():
    """Seconds of processor time spent so far by the whole machine and by this process."""
    with open("/proc/stat") as f:
        t = [int(v) for v in f.readline().split()[1:]]
    own = os.times()
    return (sum(t[:3]) + sum(t[5:8])) / os.sysconf("SC_CLK_TCK"), own.user + own.system


def timed(f, iters, seconds):
    """Milliseconds of `f()` after three warm-up calls: until `iters` calls or `seconds` are spent, five calls at least.
    `others` is how many cores other programs kept busy meanwhile: a row is sound only where it is near 0."""
    for _ in range(3):
        f()
    before, start = busy(), time.perf_counter()
    ms, end = [], start + seconds
    while len(ms) < iters and (len(ms) < 5 or time.perf_counter() < end):
        t = time.perf_counter()
        f()
        ms.append((time.perf_counter() - t) * 1e3)
    after, wall = busy(), time.perf_counter() - start
    others = max(0.0, (after[0] - before[0]) - (after[1] - before[1])) / wall
    ms.sort()
    at = lambda q: round(ms[min(len(ms) - 1, int(q * (len(ms) - 1) + 0.5))], 3)
    return {"median": at(0.5), "p5": at(0.05), "p95": at(0.95), "n": len(ms), "others": round(others, 2)}


def peak_rss_mb():
    """Highest resident size of this process since it started, in MiB."""
    with open("/proc/self/status") as f:
        return round(next(int(l.split()[1]) for l in f if l.startswith("VmHWM")) / 1024, 1)


def in_fresh_process(script, args):
    """Run `script args` and return the JSON object it prints last; None, with its error shown, when it fails."""
    p = subprocess.run([sys.executable, script, *map(str, args)], capture_output=True, text=True)
    if p.returncode:
        print(f"{' '.join(map(str, args))} failed:\n{p.stderr[-2000:]}", file=sys.stderr, flush=True)
        return None
    return json.loads(p.stdout.strip().splitlines()[-1])
