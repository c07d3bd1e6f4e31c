"""What every program here shares: the input, the timing loop, one fresh process per row; rows of the form of `escnet bench`."""
import csv
import json
import math
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

FIELDS = ("date commit device threads dtype op pass shape attributes part uses variant kernels memory samples quiet us p5 p95 host_us gflops gbps roof bound error "
          "others clocks").split()
KEY = ("op", "pass", "shape", "attributes", "dtype", "variant", "memory")


def key(row):
    """Rows of one key measure the same, as `escnet bench compare` joins them."""
    return tuple(row[field] for field in KEY)


def read_rows(*paths):
    """What `escnet bench` wrote, or one of the programs here, by its key: CSV by its name, else JSON. Of one key the last counts."""
    rows = []
    for path in paths:
        with open(path, newline="") as f:
            rows += list(csv.DictReader(f)) if path.endswith(".csv") else json.load(f)["rows"]
    return {key(row): row for row in rows}


class Rows:
    """Rows as they are measured. With `path`, a CSV, each is appended at once, and what is there already is taken up: a run that was cut off goes on."""

    def __init__(self, path=None):
        self.path = path
        self.rows = read_rows(path) if path and os.path.exists(path) else {}

    def of(self, row):
        """What is known of a row's key."""
        return self.rows.get(key(row))

    def add(self, row):
        self.rows[key(row)] = row
        if self.path:
            is_new = not os.path.exists(self.path)
            with open(self.path, "a", newline="") as f:
                to = csv.DictWriter(f, FIELDS, restval="", lineterminator="\n")
                if is_new:
                    to.writeheader()
                to.writerow({field: str(v).lower() if isinstance(v, bool) else v for field, v in row.items()})

    def finish(self):
        """On stdout, where no file was asked for."""
        if not self.path:
            print(json.dumps({"rows": list(self.rows.values())}))


class Deadline:
    """Seconds that are left to this process, out of `seconds` (0: no end)."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds if seconds else math.inf

    def allows(self, seconds):
        return time.monotonic() + seconds < self.end
