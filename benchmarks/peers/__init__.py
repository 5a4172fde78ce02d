"""The other engines in the contest, each as its own documentation would have the rules written.

Where an engine has two ways, both race: a chain of its operators for every rule ("a chain a
rule"), and one stateful step that holds a loop over all rules ("one step"), in which it is mere
transport. None of them has holds, so for those its state is the machine written by hand.
"""

from __future__ import annotations

from benchmarks.peers.bytewax_rules import bytewax_chains, bytewax_step, bytewax_windows
from benchmarks.peers.durable_rulesets import durable_chains
from benchmarks.peers.reactivex_rules import reactivex_chains, reactivex_step, reactivex_windows
from benchmarks.peers.streamz_rules import streamz_chains, streamz_step, streamz_windows
from benchmarks.stopwatch import Contestant

CONTESTANTS: dict[str, Contestant] = {
    "bytewax, a chain a rule": bytewax_chains,
    "bytewax, one step": bytewax_step,
    "bytewax, its windows": bytewax_windows,
    "reactivex, a chain a rule": reactivex_chains,
    "reactivex, one step": reactivex_step,
    "reactivex, its windows": reactivex_windows,
    "streamz, a chain a rule": streamz_chains,
    "streamz, one step": streamz_step,
    "streamz, its windows": streamz_windows,
    "durable_rules": durable_chains,
}
