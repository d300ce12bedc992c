"""Measures faiss, hnswlib and usearch on a set that `generated` wrote, and makes the page: called by scripts/rivals."""

import datetime
import json
import pathlib
import platform
import re
import subprocess
import sys
import time

K = 10
CHANGES = 2000
ROUNDS = 2
# Of a graph: links of a node, and how widely it is looked when one is added; as widely it is asked as 99 of 100 need.
LINKS, BUILD = 16, 200
WIDTHS = [16, 32, 64, 128, 256, 512, 1024]
RECALL = 0.99


def spread(times):
    times = sorted(times)
    return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}


def timed(calls):
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e6)
    return spread(times)


def best(measure):
    return min((measure() for _ in range(ROUNDS)), key=lambda one: one["p99"])


def rss():
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", text)[1]) * 1024


def recall(found, truth):
    return sum(len(set(map(int, a)) & set(map(int, b))) for a, b in zip(found, truth)) / (K * len(truth))


def measure(directory, size):
    import faiss
    import hnswlib
    import numpy
    from usearch.index import Index

    faiss.omp_set_num_threads(1)
    entries = numpy.load(directory / "entries.npy")
    queries = numpy.load(directory / "queries.npy")
    rows = []

    before = rss()
    flat = faiss.IndexFlatIP(entries.shape[1])
    added = timed([lambda at=at: flat.add(entries[at : at + 1]) for at in range(min(CHANGES, size))])
    flat.reset()
    flat.add(entries)
    memory = (rss() - before) / size
    truth = flat.search(queries, K)[1]
    asked = best(lambda: timed([lambda q=q: flat.search(q[None], K) for q in queries]))
    removed = timed([lambda at=at: flat.remove_ids(numpy.array([at])) for at in range(min(20, size))])
    rows.append({"who": f"faiss {faiss.__version__} IndexFlatIP, f32", "ask": asked, "add": added, "remove": removed,
                 "memory": memory, "recall": 1.0})
    del flat
    if size > 100_000:
        return rows

    before = rss()
    graph = hnswlib.Index(space="ip", dim=entries.shape[1])
    graph.init_index(max_elements=size + CHANGES, ef_construction=BUILD, M=LINKS)
    graph.set_num_threads(1)
    graph.add_items(entries[:-CHANGES], numpy.arange(size - CHANGES))
    added = timed([lambda at=at: graph.add_items(entries[at : at + 1], numpy.array([at])) for at in range(size - CHANGES, size)])
    memory = (rss() - before) / size
    for width in WIDTHS:
        graph.set_ef(width)
        got = recall([graph.knn_query(q, K)[0][0] for q in queries], truth)
        if got >= RECALL:
            break
    asked = best(lambda: timed([lambda q=q: graph.knn_query(q, K) for q in queries]))
    removed = timed([lambda at=at: graph.mark_deleted(at) for at in range(CHANGES)])
    rows.append({"who": f"hnswlib M {LINKS}, ef {width}, f32", "ask": asked, "add": added, "remove": removed,
                 "memory": memory, "recall": got})
    del graph

    before = rss()
    index = Index(ndim=entries.shape[1], metric="ip", dtype="f16", connectivity=LINKS, expansion_add=BUILD)
    index.add(numpy.arange(size - CHANGES), entries[:-CHANGES], threads=1)
    added = timed([lambda at=at: index.add(at, entries[at], threads=1) for at in range(size - CHANGES, size)])
    memory = (rss() - before) / size
    for width in WIDTHS:
        index.expansion_search = width
        got = recall([index.search(q, K, threads=1).keys for q in queries], truth)
        if got >= RECALL:
            break
    asked = best(lambda: timed([lambda q=q: index.search(q, K, threads=1) for q in queries]))
    removed = timed([lambda at=at: index.remove(at) for at in range(CHANGES)])
    import usearch
    rows.append({"who": f"usearch {usearch.__version__} expansion {width}, f16", "ask": asked, "add": added,
                 "remove": removed, "memory": memory, "recall": got})
    return rows


# What is aimed at, in milliseconds: the p99 of an exact search, the median of a fast one.
EXACT_AIMS = {10_000: 0.5, 100_000: 4.0, 1_000_000: 25.0}
FAST_AIMS = {100_000: 0.7}
UNITS = {"ns": 1e-3, "µs": 1.0, "ms": 1e3, "s": 1e6}


def ours(directory, size):
    """What the benchmark printed, twice: of each line the better."""
    lines = {}
    facts = {}
    for turn in (1, 2):
        text = (directory / f"ours-{size}-{turn}.txt").read_text()
        kernel = re.search(r"Exact, (\w+) ", text)[1]
        for what, p50, unit50, p99, unit99 in re.findall(r"^  (.*?)\s+p50\s+([\d.]+)(\D+?)\s+p99\s+([\d.]+)(\D+?)(?: |$)", text, re.M):
            one = {"p50": float(p50) * UNITS[unit50], "p99": float(p99) * UNITS[unit99]}
            lines[what] = min(lines.get(what, one), one, key=lambda either: either["p99"])
        facts["recall"] = float(re.search(r"recall@10 ([\d.]+)", text)[1])
        facts["memory"] = float(re.search(r"entries of (\d+) B", text)[1])
    add, remove = lines["insert"], lines["remove"]
    return [
        {"who": f"**kodikon, exact** (certified; {kernel})", "ask": lines[f"Exact, {kernel}"], "add": add, "remove": remove,
         "memory": facts["memory"], "recall": 1.0, "aim": verdict("p99", lines[f"Exact, {kernel}"], EXACT_AIMS.get(size))},
        {"who": f"**kodikon, fast** ({kernel})", "ask": lines[f"Fast, {kernel}"], "add": add, "remove": remove,
         "memory": facts["memory"], "recall": facts["recall"],
         "aim": verdict("p50", lines[f"Fast, {kernel}"], FAST_AIMS.get(size))},
    ]


def verdict(figure, measured, aim):
    """Whether a figure in microseconds reaches an aim in milliseconds, in words; nothing where there is none."""
    if aim is None:
        return ""
    share = measured[figure] / 1e3 / aim
    return f"{figure} ≤ {aim:g}: " + ("holds" if share <= 1 else f"**missed** ({share:.2f}×)")


def page(directory, typed):
    git = lambda *words: subprocess.run(["git", *words], capture_output=True, text=True).stdout.strip()
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    print("## Nearest embeddings\n")
    print(f"Measured {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ} by `{typed.strip()}`, at commit "
          f"{git('rev-parse', '--short=12', 'HEAD')}{'+' if git('status', '--porcelain', '--untracked-files=no') else ''}, on one core of "
          f"{cpu[1] if cpu else platform.processor()}, Linux {platform.release()}. 512 dimensions, ten nearest, 400 queries; "
          "clustered identities (`crates/kodikon-scan/src/generated.rs`).\n")
    print("| entries | who | query p50 / p99, ms | aim | recall@10 | add p50 / p99, µs | remove p50 / p99, µs | bytes an entry in memory |")
    print("|--:|---|--:|---|--:|--:|--:|--:|")
    for file in sorted(directory.glob("*.json"), key=lambda path: int(path.stem)):
        size = int(file.stem)
        for row in ours(directory, size) + json.loads(file.read_text()):
            pair = lambda one, by, digits: f"{one['p50'] / by:.{digits}f} / {one['p99'] / by:.{digits}f}"
            print(f"| {size:,} | {row['who']} | {pair(row['ask'], 1e3, 3)} | {row.get('aim', '')} | {row['recall']:.4f} | {pair(row['add'], 1, 1)} | "
                  f"{pair(row['remove'], 1, 1)} | {row['memory']:.0f} |")
    print("\nA graph is asked as widely as 0.99 of the true ten nearest need; of the flat index and of the exact search all are found by "
          "construction. Ours keeps codes and signs in memory and, here, the stored numbers in a file; theirs keep the numbers. A node holds its sightings in memory, numbers and signatures among them: 3.0 KB each. "
          "A flat index removes by moving all that follows; a graph marks what is removed and keeps it.")


if __name__ == "__main__":
    if sys.argv[1] == "--page":
        page(pathlib.Path(sys.argv[2]), sys.argv[3])
    else:
        print(json.dumps(measure(pathlib.Path(sys.argv[1]), int(sys.argv[2]))))
