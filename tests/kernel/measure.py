"""Measures what docs/kernel.md tells: start to first cell, cells, commands, an interrupt. Prints a table.

  target/kernel-test/bin/python tests/kernel/measure.py
"""

import os
import statistics
import time

from client import kernel

CELLS = [
    "let a = 3;",
    "a + 1",
    "fn twice(x: i64) -> i64 { 2 * x }",
    "twice(21)",
    "#[derive(Debug, Clone)] struct Point { x: f64, y: f64 }",
    "let p = Point { x: 1.0, y: 2.0 };\np.clone()",
    "let xs = Tensor::arange(6, (Kind::Int64, Device::Cpu)).view([2, 3]);\nxs.shallow_clone()",
    'for i in 0..3 { println!("{i}"); }',
    "lab.settings().sample.plan()",
    "let squares: Vec<i64> = (0..5).map(|i| i * i).collect();\nsquares.iter().sum::<i64>()",
]


def seconds(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start


def first_cell():
    start = time.monotonic()
    with kernel() as k:
        k.ok("lab.status()")
        return time.monotonic() - start


def interrupt(k):
    cell = k.start_cell("%train 100000")
    k.wait_for_output(cell, "update_display_data")
    start = time.monotonic()
    k.manager.interrupt_kernel()
    k.finish_cell(cell)
    return time.monotonic() - start


def row(name, times):
    print("| %s | %.3f | %.3f |" % (name, min(times), statistics.median(times)))


def main():
    print("load %.1f before, %d processors" % (os.getloadavg()[0], os.cpu_count()))
    print("| seconds | least | median |\n| --- | --- | --- |")
    row("start to the value of the first cell (`lab`)", [first_cell() for _ in range(5)])
    with kernel() as k:
        time.sleep(5)
        k.ok("1")
        row("a Rust cell (10 kinds)", [seconds(lambda c=c: k.ok(c)) for c in CELLS])
        k.ok("%show 0")
        row("a command (`%config sample.steps`)", [seconds(lambda: k.ok("%config sample.steps")) for _ in range(20)])
        row("an interrupt of `%train`", [interrupt(k) for _ in range(3)])
    print("load %.1f after" % os.getloadavg()[0])


if __name__ == "__main__":
    main()
