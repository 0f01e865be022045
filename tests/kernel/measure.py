"""Measures what docs/kernel.md tells, and prints it as tables in Markdown.

  target/kernel-test/bin/python tests/kernel/measure.py [--stock PROGRAM] [--rounds 5] [--stock-rounds 1]

after `make test-kernel`, on a quiet machine. PROGRAM is evcxr's own kernel to compare with, which has to be there already:

  cargo install evcxr_jupyter --version 0.22.0 --locked --root /tmp/stock        # then --stock /tmp/stock/bin/evcxr_jupyter

  target/kernel-test/bin/python tests/kernel/measure.py --without trim --without late,warm [--rounds 5]

prints what a kernel without each of these loses, beside the whole one. Their rounds alternate, so that a busy machine slows
both. Seconds of the processors are counted too: they depend less on what else runs.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import network
import prepared
import stock
from client import kernel, processes_of

HERE = pathlib.Path(__file__).resolve()
OURS = "paella"
PATIENCE = 1800  # the stock kernel compiles libtorch's bindings in its first cell
TENSOR = "Tensor::ones([2, 3], (Kind::Float, Device::Cpu)).sum(Kind::Float).double_value(&[])"
CELLS = [
    "let a = 3;",
    "a + 1",
    "fn twice(x: i64) -> i64 { 2 * x }",
    "twice(21)",
    "#[derive(Debug, Clone)] struct Point { x: f64, y: f64 }",
    "let p = Point { x: 1.0, y: 2.0 };\np.clone()",
    "let xs = Tensor::arange(6, (Kind::Int64, Device::Cpu)).view([2, 3]);\nxs.size()",
    'for i in 0..3 { println!("{i}"); }',
    "let ys = xs.to_kind(Kind::Float).softmax(1, Kind::Float);\nys.double_value(&[0, 1])",
    "let squares: Vec<i64> = (0..5).map(|i| i * i).collect();\nsquares.iter().sum::<i64>()",
]


def cell(k, code):
    reply, _ = k.finish_cell(k.start_cell(code), patience=PATIENCE)
    assert reply["status"] == "ok", (code, reply)


def seconds(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start


def first(name, code):
    """Start to the value of this cell."""
    start = time.monotonic()
    with kernel(name=name) as k:
        if name == stock.NAME and code == TENSOR:
            cell(k, stock.TCH)
        cell(k, code)
        return time.monotonic() - start


def together(count):
    """Several of ours started at once: seconds until the last one has its first tensor."""
    with ThreadPoolExecutor(count) as pool:
        return max(pool.map(lambda _: first(OURS, TENSOR), range(count)))


def cells(name):
    with kernel(name=name) as k:
        if name == stock.NAME:
            cell(k, stock.TCH)
        time.sleep(5)  # what a kernel does in the background after its start
        cell(k, "1")
        return [seconds(lambda c=c: cell(k, c)) for c in CELLS]


def commands():
    with kernel() as k:
        cell(k, "%show 0")
        return [seconds(lambda: cell(k, "%config sample.steps")) for _ in range(20)]


def training_interrupt():
    with kernel() as k:
        return [one_interrupt(k) for _ in range(5)]


def one_interrupt(k):
    running = k.start_cell("%train 100000")
    k.wait_for_output(running, "update_display_data")
    start = time.monotonic()
    k.manager.interrupt_kernel()
    k.finish_cell(running)
    return time.monotonic() - start


def variables_after_interrupt(name):
    """What is left of a variable when a loop of the next cell was interrupted."""
    loop = "for _ in %s { std::thread::sleep(std::time::Duration::from_millis(10)); }"
    with kernel(name=name) as k:
        cell(k, "let kept = 41;")
        running = k.start_cell(loop % ("progress(0..6000)" if name == OURS else "0..6000"))
        time.sleep(4)
        k.manager.interrupt_kernel()
        reply, _ = k.finish_cell(running)
        after, _ = k.run("kept")
        kept = "kept" if after["status"] == "ok" else "lost (%s)" % after.get("ename")
        return "%s; the cell ends as %s" % (kept, reply.get("ename", reply["status"]))


def without_network():
    """The same start where no network is, in a process of its own; and how that was had."""
    command, environment, how = network.without([sys.executable, str(HERE), "--first"])
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    if run.returncode:
        return "fails: " + run.stderr.strip()[-200:], how
    return [float(run.stdout.split()[-1])], how


def suite(module, classes, program=None):
    """Jupyter's test suite, each test on a kernel of its own: name -> how it ended. One that hangs does not end the rest."""
    environment = {**os.environ, "PAELLA_STOCK_KERNEL": program or ""}
    results = {}
    for case in classes:
        listing = "import sys, unittest, %s as m; print(*unittest.TestLoader().getTestCaseNames(m.%s))" % (module, case)
        names = subprocess.run([sys.executable, "-c", listing], cwd=HERE.parent, env=environment, capture_output=True, text=True)
        for name in names.stdout.split():
            command = [sys.executable, "-m", "unittest", "%s.%s.%s" % (module, case, name)]
            try:
                run = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True, timeout=150)
            except subprocess.TimeoutExpired:
                results[name] = "hangs"
                continue
            results[name] = "skipped" if "skipped=1" in run.stderr else "fails" if run.returncode else "passes"
    return results


def seconds_of(value):
    if not isinstance(value, list):
        return value or "-"
    digits = 3 if min(value) < 0.1 else 2
    if len(value) == 1:
        return "%.*f s" % (digits, value[0])
    return "%.*f s (least %.*f)" % (digits, statistics.median(value), digits, min(value))


def row(name, ours, other=None):
    print("| %s | %s | %s |" % (name, seconds_of(ours), seconds_of(other)), flush=True)


def times(args):
    def both(name, work):
        ours = [work(OURS) for _ in range(args.rounds)]
        row(name, ours, args.stock and [work(stock.NAME) for _ in range(args.stock_rounds)])

    print("| median of several | Paella (Rust) | evcxr_jupyter |\n| --- | --- | --- |")
    both("start to the value of a first cell (`6 * 7`)", lambda name: first(name, "6 * 7"))
    both("start to a first tensor (evcxr: with its `:dep tch`)", lambda name: first(name, TENSOR))
    row("start to the session with its model (`lab.status()`)", [first(OURS, "lab.status()") for _ in range(args.rounds)])
    row("start to a first variable (`let status = lab.status();`)", [first(OURS, "let status = lab.status();") for _ in range(args.rounds)])
    for count, name in ((2, "two"), (4, "four")):
        row(name + " kernels started together, to the last first tensor", [together(count) for _ in range(3)])
    value, how = without_network()
    row("start to a first tensor without a network", value)
    row("a Rust cell, ten kinds", cells(OURS), args.stock and cells(stock.NAME))
    row("a command (`%config sample.steps`)", commands())
    row("the stop button on `%train`", training_interrupt())
    row("variables after the stop button", variables_after_interrupt(OURS), args.stock and variables_after_interrupt(stock.NAME))
    print("\nWithout a network: %s.\n" % how)


def cpu_of(k):
    """Processor seconds of a kernel, its evaluator and the compilers they have run."""
    ticks = 0
    for pid in processes_of(k.manager.provisioner.process.pid):
        with contextlib.suppress(OSError):
            with open("/proc/%d/stat" % pid, encoding="utf-8") as file:
                ticks += sum(map(int, file.read().rsplit(")", 1)[1].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def timed(k, work):
    """Seconds of this work, and of the processors meanwhile."""
    begin, cpu = time.monotonic(), cpu_of(k)
    work()
    return time.monotonic() - begin, cpu_of(k) - cpu


def start(env, code):
    """A kernel that has run this cell; seconds since its start, and of the processors."""
    begin = time.monotonic()
    with kernel(env=env) as k:
        cell(k, code)
        yield time.monotonic() - begin, cpu_of(k)
        time.sleep(4)  # what a kernel does in the background after its start
        cell(k, "1")
        yield tuple(statistics.median(column) for column in zip(*[timed(k, lambda c=code: cell(k, c)) for code in CELLS]))


def round_of(env):
    """One start to a first cell, with ten cells after it, and one start to a first variable."""
    both = start(env, "6 * 7")
    first_cell, ten = next(both), next(both)
    both.close()
    variable = start(env, "let status = lab.status();")
    first_let = next(variable)
    variable.close()
    return {"start": first_cell, "first `let`": first_let, "cell": ten}


def spread(values):
    return "%.2f (%.2f to %.2f)" % (statistics.median(values), min(values), max(values))


def tricks(args):
    """What each group of tricks saves, beside the whole kernel."""
    groups = ["", *args.without]
    places = {group: pathlib.Path(args.caches).resolve() / (group.replace(",", "-") or "whole-kernel") for group in groups}
    for group, place in places.items():
        if not list(place.glob("kernel-*/stamp")):  # those of an earlier call are used again
            code, said = prepared.prepare(place, group)
            assert code == 0, said
    environments = {group: prepared.environment(place, group) for group, place in places.items()}
    rounds = {group: [] for group in groups}
    for number in range(args.rounds):
        for group in groups[number % len(groups) :] + groups[: number % len(groups)]:
            rounds[group].append(round_of(environments[group]))
            print(number, group or "nothing", rounds[group][-1], file=sys.stderr, flush=True)
    kinds = list(rounds[""][0])
    print("| without | " + " | ".join("%s, s | saved | processors, s | saved" % kind for kind in kinds) + " |")
    print("| --- |" + " --- |" * 4 * len(kinds))
    for group in groups:
        line = [group or "nothing"]
        for kind in kinds:
            for i in range(2):
                own, whole = ([times[kind][i] for times in rounds[g]] for g in (group, ""))
                line += [spread(own), "%+.2f" % (statistics.median(own) - statistics.median(whole))]
        print("| " + " | ".join(line) + " |", flush=True)


def suites(args):
    ours = suite("test_protocol", ["PaellaKernelTests", "PaellaWelcomeTests"])
    other = suite("stock", ["StockKernelTests", "StockWelcomeTests"], args.stock) if args.stock else {}
    print("| jupyter_kernel_test | Paella (Rust) | evcxr_jupyter |\n| --- | --- | --- |")
    for name in ours:
        row("`%s`" % name.removeprefix("test_"), ours[name], other.get(name))
    count = lambda results: "%d of %d pass" % (list(results.values()).count("passes"), len(results)) if results else None
    row("all", count(ours), count(other))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", metavar="PROGRAM", help="the stock kernel; without it only ours is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stock-rounds", type=int, default=1, help="it compiles its dependencies in each")
    parser.add_argument("--only", choices=["times", "suites"], help="one of the two tables")
    parser.add_argument("--without", action="append", default=[], metavar="TRICKS", help="measure a kernel without these; several times for several kernels")
    parser.add_argument("--caches", metavar="DIR", default="target/kernel-test/without", help="where the kernels of --without are prepared")
    parser.add_argument("--first", action="store_true", help="only print the seconds from a start to a first tensor")
    args = parser.parse_args()
    if args.first:
        return print(first(OURS, TENSOR))
    if args.stock and not os.access(args.stock, os.X_OK):
        print("no program at %s: measuring ours only\n" % args.stock)
        args.stock = None
    if args.stock:
        args.stock = os.path.abspath(args.stock)
        stock.register(args.stock)
    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    print("%d processors, load %.1f, %s\n" % (os.cpu_count(), os.getloadavg()[0], rust))
    if args.without:
        tricks(args)
        return print("\nload %.1f at the end" % os.getloadavg()[0])
    if args.only != "suites":
        times(args)
    if args.only != "times":
        suites(args)
    print("\nload %.1f at the end" % os.getloadavg()[0])


if __name__ == "__main__":
    main()
