"""The large denoiser beside the same network in PyTorch, eager and compiled, by turns in one run; then where the time goes."""
import gzip
import json
import os
import queue
import shutil
import signal
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
        self.ready = self.busy = False

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
        self.busy = True  # it stays so where the answer comes too late
        answer = self.next(self.kit.left())
        self.busy = False
        return answer

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
    command = [sys.executable, os.path.join(kit.root, "peer.py"), path, "--device", kit.device, *more]
    return Peer(kit, name, command, TORCHINDUCTOR_CACHE_DIR=cache, TRITON_CACHE_DIR=cache + "-triton")


def compiled_sizes(kit):
    """What the compiled peers can be asked for; anything else would compile when it is measured."""
    trains, samples, _, _ = sizes(kit)
    return {"train": trains[:1], "sample": samples}


def prepare_twin(kit):
    """Compiling takes minutes of CPU time: it goes on beside the stages before, and is over when speed is measured."""
    if has_torch():
        mode = "aot_eager" if kit.tiny else "max-autotune"
        kit.shared["compiled"] = {what: (mode, compiling(kit, what, mode)) for what in ("sample", "train")}


def compiling(kit, what, mode):
    ready = ",".join(f"{what}:{n}" for n in compiled_sizes(kit)[what])
    return twin(kit, f"{mode}-{what}", "--compile", mode, "--ready", ready)


def ready_now(kit, seconds=1.0):
    """The compiled peers that are ready, by what they are asked for, with the mode they were compiled in."""
    found = {}
    for what, (mode, peer) in kit.shared.get("compiled", {}).items():
        try:
            peer.wait(seconds)
            found[what] = (mode, peer)
        except (Late, RuntimeError):
            pass
    return found


def compiled_late(kit, found):
    """The peers that were not ready, once they are; in place of one that has failed, its blocks compiled one by one."""
    late = {}
    for what, (mode, peer) in kit.shared.get("compiled", {}).items():
        if what in found:
            continue
        try:
            peer.wait(kit.left() - 30)
            late[what] = (mode, peer)
            continue
        except Late:
            error = "not ready in time"
        except RuntimeError as failed:
            error = str(failed)[:600]
        peer.end()
        kit.part("torch.compile", of=what, mode=mode, error=error, ready=peer.said)
        if kit.left() > 60:
            peer = compiling(kit, what, "blocks")
            try:
                peer.wait(kit.left() - 20)
                late[what] = ("blocks", peer)
            except (Late, RuntimeError) as failed:
                peer.end()
                kit.part("torch.compile", of=what, mode="blocks", error=str(failed)[:600], ready=peer.said)
    return late


def pause(kit, peers, number):
    """Peers that compile hold still while others are measured, or go on."""
    for _, peer in peers:
        if peer.child.poll() is None:
            os.killpg(peer.child.pid, number)


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
    found = ready_now(kit)
    waiting = [it for what, it in kit.shared.get("compiled", {}).items() if what not in found]
    every = [("train", trains[0]), *[("sample", n) for n in samples], *[("train", n) for n in trains[1:]]]
    pause(kit, waiting, signal.SIGSTOP)
    try:
        done = by_turns(kit, peers, found, every, times, rounds)
    finally:
        pause(kit, waiting, signal.SIGCONT)
    late = compiled_late(kit, found)
    for what, (mode, peer) in {**found, **late}.items():
        kit.part("torch.compile", of=what, mode=mode, ready=peer.said)
    again = [(what, n) for what, n in every if what in late and n in compiled_sizes(kit)[what]]
    done += by_turns(kit, {"paella": paella}, late, again, times, rounds)
    return {"measured": done, "ok": done > 0}


def by_turns(kit, peers, compiled, requests, times, rounds):
    done, skip = 0, set()
    for what, n in requests:
        now = dict(peers)
        if what in compiled and n in compiled_sizes(kit)[what]:
            now[f"torch.compile, {compiled[what][0]}"] = compiled[what][1]
        for turn in range(rounds):
            done += one_turn(kit, now, (what, n, times), turn, skip)
    return done


def one_turn(kit, peers, request, turn, skip):
    """All peers once; a size for which a peer has no memory is tried once."""
    done = 0
    for name, peer in list(peers.items()):
        what, n, times = request
        if (name, what, n) in skip or peer.child.poll() is not None:
            continue
        try:
            answer = peer.ask(what, n, times)
            peer.ask("release")
        except RuntimeError as error:
            answer = {"error": str(error)[:400]}
        if name == "paella" and what == "sample" and "error" not in answer:
            plain = peer.ask(what, n, times, "plain")
            kit.part("measured", peer="paella, plain", what=what, n=n, turn=turn, **{"error": plain.get("error"), **plain.get(what, {})})
            peer.ask("release")
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
    if peer is None or peer.child.poll() is not None or peer.busy or not peer.ready:
        if peer is not None:
            peer.end()
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
