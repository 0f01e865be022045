"""Paella beside the same denoiser in PyTorch, eager and under torch.compile, by turns in one run on this CPU.

    benches/peers/run.sh [--threads 2] [--configs small,26m] [--work sample:1,train:8] [--around CONFIG.ron,..] [--rounds 3]
                         [--out FOLDER]

Then what stands around the denoiser (tokenizer and text encoder, of --around's configs) beside `around.py`, and the published VQGAN
also beside candle's (benches/peers/candle).

Every program keeps its own process; while one is asked the others sleep. Writes FOLDER/benchmarks.json with every single time, and
prints the table of docs/benchmarks.md. The network in PyTorch is that of scripts/gpu/twin.py, which is first held against the fixtures.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "benches", "peers")
KIT = os.path.join(ROOT, "scripts", "gpu")
PROGRAM = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "debug", "paella")
WORK = "sample:1,sample:8,train:1,train:8"
NAMES = {
    "sample": "12 steps, guided",
    "train": "training step",
    "encode": "pictures to tokens",
    "decode": "tokens to pictures",
    "text": "texts to vectors",
}
AROUND = "configs/emoji-64.ron,benches/peers/published.ron"


class Peer:
    """A program that answers requests: one line in, one line of JSON out."""

    def __init__(self, name, command, threads, **env):
        self.name = name
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", **env}
        self.child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while not self.answer().get("ready"):
            pass

    def answer(self):
        for line in self.child.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"error: {self.name} has ended\n  in: benches/peers\n  hint: its own message stands above")

    def ask(self, *words):
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        self.child.stdin.flush()
        return self.answer()

    def user_seconds(self):
        """CPU time that the process has used, of all its threads."""
        fields = open(f"/proc/{self.child.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.child.stdin.close()
        self.child.wait(10)


def ours(config, threads):
    return Peer("paella", [PROGRAM, "bench", config, "--serve", "--device", "cpu"], threads)


def as_json(config):
    """A file with the whole config as JSON."""
    shown = subprocess.run([PROGRAM, "config", "show", "--json", config], check=True, capture_output=True, text=True).stdout
    path = os.path.join(os.path.dirname(PROGRAM), os.path.basename(config) + ".json")
    with open(path, "w") as file:
        file.write(shown)
    return path


def peers(config, threads, python, work):
    """Ours, and what of PyTorch is there; `work` is compiled before, empty for no compiled peer."""
    found = [ours(config, threads)]
    if not python:
        return found
    twin = [python, os.path.join(KIT, "peer.py"), as_json(config), "--device", "cpu"]
    found.append(Peer("eager", twin, threads))
    if work:
        found.append(Peer("compile", [*twin, "--compile", "default", "--ready", work], threads))
    return found


def measure(config, args):
    """Times in ms of each peer for each work, turn by turn."""
    name = os.path.basename(config).removesuffix(".ron")
    programs = peers(config, args.threads, args.python, args.work if args.compiled else "")
    rows = []
    for what, n in (item.split(":") for item in args.work.split(",")):
        n = int(n)
        times = args.times if n == 1 else max(2, args.times // 3)
        row = {"config": name, "work": what, "batch": n, "each_ms": {}, "cpu_ms": {}}
        requests = [(peer.name, peer, ()) for peer in programs]
        if what == "sample":
            requests[0] = ("paella", programs[0], ("plain",))
            if args.bf16:
                requests.append(("paella in bf16", programs[0], ()))
        for name_, peer, how in requests:
            peer.ask(what, n, 1, *how)  # warm
        for _ in range(args.rounds):
            for name_, peer, how in requests:
                before = peer.user_seconds()
                answer = peer.ask(what, n, times, *how)
                if "error" in answer:
                    raise SystemExit(f"error: {answer['error']}\n  in: {name_}, {what} {n}\n  hint: another --configs")
                each = answer[what]["each_ms"]
                row["each_ms"].setdefault(name_, []).extend(each)
                # what a first request prepares counts here: compare these only between rounds of one work
                row["cpu_ms"].setdefault(name_, []).append(1e3 * (peer.user_seconds() - before) / len(each))
        rows.append(row)
        print(line(row), file=sys.stderr, flush=True)
    for peer in programs:
        peer.end()
    return rows


def measure_around(config, args):
    """The same for tokenizer and text encoder."""
    name = os.path.basename(config).removesuffix(".ron")
    programs = [ours(config, args.threads)]
    if args.python:
        programs.append(Peer("eager", [args.python, os.path.join(HERE, "around.py"), as_json(config)], args.threads))
    if args.candle and name == "published":  # candle has the published VQGAN alone
        programs.append(Peer("candle", [args.candle], args.threads, RAYON_NUM_THREADS=str(args.threads)))
    rows = []
    for what in ("encode", "decode", "text"):
        for n in (1, 8):
            times = args.times if n == 1 else max(2, args.times // 3)
            row = {"config": name, "work": what, "batch": n, "each_ms": {}}
            for _ in range(args.rounds):
                for peer in programs:
                    answer = peer.ask(what, n, times)
                    if "error" not in answer:  # no peer
                        row["each_ms"].setdefault(peer.name, []).extend(answer["piece"]["each_ms"])
            rows.append(row)
            print(line(row), file=sys.stderr, flush=True)
    for peer in programs:
        peer.end()
    return rows


def line(row):
    """One row of the table: median (min to max) of ours, medians of the others and how many times as long they take."""
    each = row["each_ms"]
    ours = each["paella"]
    median = statistics.median(ours)
    cells = [row["config"], NAMES[row["work"]], str(row["batch"]), f"{short(median)} ({short(min(ours))} to {short(max(ours))})"]
    for name in ("eager", "compile", "paella in bf16", "candle"):
        if name not in each:
            cells.append("no peer" if name == "eager" else "")
            continue
        theirs = statistics.median(each[name])
        cells.append(f"{short(theirs)} ({theirs / median:.2f})")
    return "| " + " | ".join(cells) + " |"


def short(ms):
    return f"{ms:.0f}" if ms >= 20 else f"{ms:.1f}"


def twin_is_equal(python):
    twin = [python, os.path.join(KIT, "twin.py"), os.path.join(ROOT, "tests", "fixtures"), "--device", "cpu"]
    return json.loads(subprocess.run(twin, check=True, capture_output=True, text=True).stdout)


def versions(python):
    code = "import torch; print(torch.__version__)"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def processor():
    for line_ in open("/proc/cpuinfo"):
        if line_.startswith("model name"):
            return line_.partition(":")[2].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--configs", default="small,26m")
    parser.add_argument("--work", default=WORK)
    parser.add_argument("--around", default=AROUND, help="configs after commas; empty for none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=6, help="of one turn at batch 1; a third of it at others")
    parser.add_argument("--python", default="", help="with PyTorch; empty: there is no peer, and the table says so")
    parser.add_argument("--candle", default="", help="the program of benches/peers/candle; empty: no such peer")
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="a processor without it takes minutes for a run")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(PROGRAM), ".."))
    args = parser.parse_args()
    about = {"processor": processor(), "threads": args.threads, "dtype": "f32", "peer": "no peer: PyTorch was not found"}
    if args.python:
        about["peer"] = "PyTorch " + versions(args.python)
        about["twin"] = twin_is_equal(args.python)
        subprocess.run([args.python, os.path.join(HERE, "around.py"), "--check", os.path.join(ROOT, "tests", "fixtures")], check=True)
    rows = []
    for name in filter(None, args.configs.split(",")):
        rows += measure(os.path.join(HERE, name + ".ron"), args)
    for name in filter(None, args.around.split(",")):
        rows += measure_around(os.path.join(ROOT, name), args)
    with open(os.path.join(args.out, "benchmarks.json"), "w") as file:
        json.dump({"about": about, "rows": rows}, file, indent=1)
    print(f"{about['processor']}, {about['threads']} threads, {about['dtype']}, {about['peer']}\n")
    print("| denoiser | work | batch | Paella, ms | PyTorch eager, ms (ratio) | torch.compile, ms (ratio) | Paella in bf16, ms (ratio) | candle, ms (ratio) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(map(line, rows)))


if __name__ == "__main__":
    main()
