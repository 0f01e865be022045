"""Several processes on one machine: the same losses as one, and what is said when one of them is lost."""
import json
import os
import signal
import socket
import time

from kit import Late, cards, tail
from runs import config, losses, most_apart

TIMEOUT = 8  # seconds that ranks wait for each other where one is lost


def ranks(kit):
    """One rank by NCCL; two by NCCL on two cards, else by Gloo on one; a rank killed, a rank stopped."""
    path, results = config(kit, "ranks.ron"), {}
    gpu, several = kit.device.startswith("cuda"), card_count(kit) > 1
    if kit.shared.get("nccl"):
        code = kit.wait(kit.shared["nccl"], 60)
        kit.part("libpaella_cuda.so compiled here", ok=code == 0, said="" if code == 0 else tail(kit.shared["nccl"].log))
    finish(kit, [start(kit, path, "solo")])
    alone = losses(os.path.join(kit.work, "solo"))
    one_backend = "Nccl" if gpu else "Gloo"
    results["one rank"] = same(kit, path, "one", 1, one_backend, alone)
    backend = "Nccl" if several else "Gloo"
    results["two ranks"] = same(kit, path, "two", 2, backend, alone)
    for name, number in [("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)]:
        results[f"a rank {name}"] = guarded(kit, f"a rank {name}", lost, path, name, number, backend)
    if gpu and not several:
        # NCCL refuses two ranks on one card; how it says so is worth knowing, and that it does
        results["NCCL refuses one card for two"] = guarded(kit, "NCCL, two ranks on one card", refused, path)
    return {"ok": all(results.values()), "checks": results, "backend of two": backend}


def card_count(kit):
    if "count" not in kit.shared:
        kit.shared["count"] = len(cards()) if kit.device.startswith("cuda") else 0
    return kit.shared["count"]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(kit, path, out, rank=None, size=1, port=0, *more):
    """`paella train` alone, or as a rank; ranks share the first card where there are too few."""
    several = card_count(kit)
    env = {}
    if rank is not None:
        local = rank if rank < several else 0
        env = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(local), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        env.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo", NCCL_DEBUG="WARN")
    command = kit.program("train", path, "--device", kit.device, "--json", "--out", os.path.join(kit.work, out), *more)
    return kit.start(command, env=env, name=f"{out}-{'alone' if rank is None else rank}")


def finish(kit, children):
    for child in children:
        if kit.wait(child) != 0:
            raise RuntimeError(tail(child.log))


def same(kit, path, out, size, backend, alone):
    """Losses of `size` ranks beside those without any group."""

    def train():
        port = free_port()
        begin = time.monotonic()
        finish(kit, [start(kit, path, out, rank, size, port, "--set", f"dist.backend={backend}") for rank in range(size)])
        own = losses(os.path.join(kit.work, out))
        worst = most_apart(own, alone)
        # gradients are added in another order; a GPU's own order changes from run to run as well
        ok = len(own) == len(alone) and worst < (1e-3 if kit.device.startswith("cuda") else 1e-5)
        kit.part(f"{size} rank{'s' * (size > 1)}, {backend}", ok=ok, losses_apart=worst, steps=len(own), seconds=time.monotonic() - begin)
        return ok

    return guarded(kit, f"{size} ranks, {backend}", train)


def guarded(kit, name, function, *args):
    """What fails here does not stop what comes after it."""
    try:
        return function(kit, *args) if args else function()
    except Late:
        raise
    except Exception as error:
        kit.part(name, ok=False, error=f"{type(error).__name__}: {error}"[:900])
        return False


def lost(kit, path, name, number, backend):
    """Two ranks train; the second is killed or stopped: the first must say so and leave, within the timeout."""
    port = free_port()
    more = ["--set", "train.steps=1000000", "--set", f"dist.timeout_s={TIMEOUT}", "--set", f"dist.backend={backend}"]
    first, second = [start(kit, path, name, rank, 2, port, *more) for rank in range(2)]
    log = os.path.join(kit.work, name, "log.jsonl")
    while not (os.path.exists(log) and sum(1 for _ in open(log)) > 5):
        for child in (first, second):
            if child.poll() is not None:
                raise RuntimeError(f"ended before: {tail(child.log)}")
        kit.need(1)
        time.sleep(0.02)
    begin = time.monotonic()
    os.kill(second.pid, number)
    code = kit.wait(first, TIMEOUT + 15)
    took = time.monotonic() - begin
    kit.kill(second)
    said = errors(first.log)
    ok = code == 1 and took < TIMEOUT + 10 and "rank 1" in said
    kit.part(f"a rank {name}", ok=ok, code=code, seconds=took, timeout_s=TIMEOUT, said=said[:400], backend=backend)
    return ok


def refused(kit, path):
    port = free_port()
    more = ["--set", "dist.backend=Nccl", "--set", f"dist.timeout_s={TIMEOUT}"]
    begin = time.monotonic()
    children = [start(kit, path, "refused", rank, 2, port, *more) for rank in range(2)]
    codes = [kit.wait(child, TIMEOUT + 20) for child in children]
    said = [errors(child.log)[:300] for child in children]
    ok = all(code == 1 for code in codes)
    kit.part("NCCL, two ranks on one card", ok=ok, codes=codes, seconds=time.monotonic() - begin, said=said)
    return ok


def errors(log):
    """What a rank said in our words: with --json, the faults."""
    for line in open(log, errors="replace"):
        if line.startswith("{") and '"errors"' in line:
            return "; ".join(f"{f['error']} ({f['hint']})" if f["hint"] else f["error"] for f in json.loads(line)["errors"])
    return tail(log)
