"""The large denoiser beside the same network in PyTorch, eager and compiled, by turns in one run; then where the time goes."""
import gzip
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time

from kit import Late, cards, tail


class Peer:
    """A program that answers requests: one line in, one line of JSON out."""

    def __init__(self, kit, name, command, **env):
        self.kit, self.name = kit, name
        self.child = kit.start(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, name=f"serve-{name}")
        self.answers = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        self.said = []  # before it was ready
        self.ready = False

    def read(self):
        for line in self.child.stdout:
            if line.startswith("{"):
                self.answers.put(json.loads(line))
        self.answers.put(None)

    def next(self, seconds):
        try:
            answer = self.answers.get(timeout=max(0.1, seconds))
        except queue.Empty:
            raise Late(f"{self.name} has not answered in {seconds:.0f} s") from None
        if answer is None:
            raise RuntimeError(f"{self.name} has ended: {tail(self.child.log)}")
        return answer

    def wait(self, seconds):
        """Until it takes requests; what it said before."""
        end = time.monotonic() + seconds
        while not self.ready:
            answer = self.next(end - time.monotonic())
            self.said.append(answer)
            self.ready = bool(answer.get("ready"))
        return self.said

    def ask(self, *words):
        self.kit.need(3)
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        self.child.stdin.flush()
        return self.next(self.kit.left())

    def end(self):
        self.kit.kill(self.child)


def sizes(kit):
    """Micro batches, sampling batches, timed repetitions, rounds."""
    return ([4], [1, 2], 2, 2) if kit.tiny else ([16, 32, 64], [1, 16], 5, 2)


def bench_config(kit):
    if kit.tiny:
        name = "bench-tiny.ron"
        return os.path.join(kit.root, name)
    given = kit.args.bench_config
    return os.path.abspath(given) if os.path.exists(given) else kit.place(given)


def has_torch():
    return not os.environ.get("PAELLA_LIBTORCH_LIB")


def twin(kit, name, *more):
    """A PyTorch peer; the config goes over as JSON."""
    path = os.path.join(kit.work, "bench.json")
    if not os.path.exists(path):
        out = subprocess.run(kit.program("config", "show", bench_config(kit), "--json"), env=kit.env, capture_output=True, text=True, timeout=60, check=True)
        with open(path, "w") as file:
            file.write([line for line in out.stdout.splitlines() if line.startswith("{")][-1])
    cache = os.path.join(kit.work, "inductor")
    command = [sys.executable, os.path.join(kit.root, "twin.py"), path, "--device", kit.device, *more]
    return Peer(kit, name, command, TORCHINDUCTOR_CACHE_DIR=cache, TRITON_CACHE_DIR=cache + "-triton")


def prepare_twin(kit):
    """Compiling takes minutes of CPU time: it goes on beside the stages before, and is over when speed is measured."""
    if has_torch():
        trains, samples, _, _ = sizes(kit)
        order = [f"sample:{samples[0]}", f"train:{trains[0]}", f"sample:{samples[-1]}"]
        kit.shared["order"] = order
        kit.shared["mode"] = "default" if kit.tiny else "max-autotune"
        kit.shared["compiled"] = twin(kit, "compiled", "--compile", kit.shared["mode"], "--ready", ",".join(order))


def compiled_twin(kit):
    """The compiled peer once it is ready, in place of one that takes too long a faster mode; None where neither is in time."""
    peer = kit.shared.get("compiled")
    if peer is None:
        return None
    for limit, again in [(0.35, True), (0.35, False)]:
        try:
            said = peer.wait(limit * kit.left())
            kit.part("torch.compile", mode=kit.shared["mode"], ready=said)
            return peer
        except (Late, RuntimeError) as error:
            peer.end()
            kit.part("torch.compile", mode=kit.shared["mode"], error=str(error)[:600], ready=peer.said)
            if again and kit.shared["mode"] != "default":
                kit.shared["mode"] = "default"
                peer = twin(kit, "compiled-default", "--compile", "default", "--ready", ",".join(kit.shared["order"][:2]))
            else:
                return None
    return None


def paella_peer(kit):
    peer = Peer(kit, "paella", kit.program("bench", bench_config(kit), "--serve", "--device", kit.device))
    kit.shared["paella"] = peer
    return peer


def bench(kit):
    """Every size by turns: ours, eager, compiled, and again. Who is not asked gives its memory back."""
    trains, samples, times, rounds = sizes(kit)
    paella = paella_peer(kit)
    peers = {"paella": paella}
    if has_torch():
        peers["eager"] = twin(kit, "eager")
    size = paella.wait(min(60, kit.left()))[-1]
    kit.part("denoiser", parameters=size["parameters"], flops_of_a_picture=size["flops"], config=os.path.basename(bench_config(kit)), cards=cards())
    for name in list(peers):
        try:
            peers[name].wait(min(60, kit.left()))
        except (Late, RuntimeError) as error:
            kit.part("peer", name=name, error=str(error)[:600])
            del peers[name]
    compiled = compiled_twin(kit)
    if compiled:
        peers["compiled"] = compiled
    done, skip = 0, set()
    for what, ns in [("train", trains[:1]), ("sample", samples), ("train", trains[1:])]:
        for n in ns:
            for turn in range(rounds):
                done += one_turn(kit, peers, (what, n, times), turn, skip)
    return {"measured": done, "mode of torch.compile": kit.shared.get("mode") if compiled else None, "ok": done > 0}


def one_turn(kit, peers, request, turn, skip):
    """All peers once; a size for which a peer has no memory is tried once."""
    done = 0
    for name, peer in list(peers.items()):
        what, n, times = request
        # the compiled peer is asked for what it has compiled: anything else would compile now
        if (name, what, n) in skip or name == "compiled" and f"{what}:{n}" not in kit.shared["order"]:
            continue
        try:
            answer = peer.ask(what, n, times)
            peer.ask("release")
        except RuntimeError as error:
            answer = {"error": str(error)[:400]}
            del peers[name]
        if "error" in answer:
            skip.add((name, what, n))
            if name == "paella" and what == "train" and "memory" in answer["error"]:
                done += recomputed(kit, peer, n, times, turn)
        done += "error" not in answer
        kit.part("measured", peer=name, what=what, n=n, turn=turn, **{"error": answer.get("error"), **answer.get(what, {})})
    return done


def recomputed(kit, peer, n, times, turn):
    """What does not fit may fit without kept activations."""
    answer = peer.ask("train", n, times, "recompute")
    peer.ask("release")
    kit.part("measured", peer="paella, recompute", what="train", n=n, turn=turn, **{"error": answer.get("error"), **answer.get("train", {})})
    return int("error" not in answer)


def profile(kit):
    """One training step and one sampling run under the profiler."""
    peer = kit.shared.get("paella")
    if peer is None or peer.child.poll() is not None:
        peer = paella_peer(kit)
        peer.wait(min(60, kit.left()))
    folder = os.path.join(kit.work, "profile")
    answer = peer.ask("profile", sizes(kit)[0][0], folder)
    if "error" in answer:
        raise RuntimeError(answer["error"])
    os.makedirs(os.path.join(kit.out, "profile"), exist_ok=True)
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as trace, gzip.open(os.path.join(kit.out, "profile", name + ".gz"), "wb", 6) as packed:
            shutil.copyfileobj(trace, packed)
    found = answer["profile"]
    return {"train": found["train"], "sample": found["sample"], "ok": bool(found["train"] and found["sample"])}
