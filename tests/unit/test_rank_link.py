"""The connection between agents: authentication, integrity, silence, and the choice of a network."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from hpcsweep.node.ranks import link as link_module
from hpcsweep.node.ranks.link import LinkError, join, welcome
from hpcsweep.node.ranks.network import candidates, common_address
from hpcsweep.node.setup.environment import shared_environment

TOKEN = "a" * 48


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = socket.socketpair()
    yield pair
    for end in pair:
        end.close()


def shake(ends: tuple[socket.socket, socket.socket], token: str = TOKEN) -> tuple[Any, Any]:
    """What each side has after the handshake: its link, or its error."""
    results: dict[str, Any] = {}

    def head() -> None:
        try:
            results["head"] = welcome(ends[0], TOKEN)
        except LinkError as exc:
            results["head"] = exc
            ends[0].close()

    thread = threading.Thread(target=head)
    thread.start()
    try:
        results["rank"] = join(ends[1], token, 3)
    except LinkError as exc:
        results["rank"] = exc
    thread.join()
    return results["head"], results["rank"]


def test_messages_arrive_in_order_both_ways(ends):
    (rank, head), ranks = shake(ends)
    assert rank == 3
    arrived: SimpleQueue[Any] = SimpleQueue()
    head.start(arrived.put, arrived.put)
    ranks.start(arrived.put, arrived.put)
    for number in range(5):
        ranks.send("line", text=f"{number} \n ü")
    assert [arrived.get(timeout=5)["text"] for _ in range(5)] == [f"{number} \n ü" for number in range(5)]
    head.send("stop", grace_s=1.0)
    assert arrived.get(timeout=5) == {"kind": "stop", "grace_s": 1.0}
    ranks.close()
    assert arrived.get(timeout=5) == "connection closed"
    head.close()


def test_a_wrong_token_is_refused_by_both_sides(ends):
    head, rank = shake(ends, "b" * 48)
    assert isinstance(head, LinkError) and isinstance(rank, LinkError)


def test_the_token_is_never_sent(ends):
    sent: list[bytes] = []

    class Recorded:
        def __getattr__(self, name: str) -> Any:
            return getattr(ends[1], name)

        def sendall(self, data: bytes) -> None:
            sent.append(data)
            ends[1].sendall(data)

    shake((ends[0], Recorded()))
    assert sent and TOKEN.encode() not in b"".join(sent)


def test_a_changed_message_ends_the_connection(ends):
    (_, head), _ = shake(ends)
    closed: SimpleQueue[str] = SimpleQueue()
    head.start(lambda message: closed.put(f"accepted {message}"), closed.put)
    ends[1].sendall(hashlib.sha256(b"").hexdigest()[:32].encode() + b' {"kind":"stop"}\n')
    assert closed.get(timeout=5) == "a message was changed on the way"
    head.close()


def test_silence_counts_as_lost(ends, monkeypatch):
    monkeypatch.setattr(link_module, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(link_module, "SILENT_S", 0.2)
    (_, head), _ = shake(ends)
    closed: SimpleQueue[str] = SimpleQueue()
    head.start(lambda message: None, closed.put)
    assert closed.get(timeout=5).startswith("no message for")
    head.close()


KNOWN = {"10.0.0.5": "eth0", "172.16.0.5": "ib0", "10.9.0.5": "hsn1", "172.17.0.1": "docker0"}


@pytest.mark.parametrize(
    ("env", "first"),
    [
        ({}, "10.9.0.5"),
        ({"NCCL_SOCKET_IFNAME": "eth"}, "10.0.0.5"),
        ({"GLOO_SOCKET_IFNAME": "ib0,eth0"}, "172.16.0.5"),
        ({"VLLM_HOST_IP": "10.0.0.5"}, "10.0.0.5"),
    ],
)
def test_the_fastest_network_comes_first_unless_one_is_named(env, first):
    addresses = candidates(KNOWN, env)
    assert addresses[0] == first and addresses[-1] == "127.0.0.1" and "172.17.0.1" not in addresses


def test_the_address_that_every_node_reaches():
    assert common_address(["a", "b", "c"], [["b", "c"], ["a", "b"]]) == "b"
    assert common_address(["a", "b"], [["a"], ["b"]]) is None


def test_variables_of_the_head_node_stay_there():
    env = {"PATH": "/x", "HF_TOKEN": "t", "CUDA_VISIBLE_DEVICES": "0", "SLURM_NODEID": "0", "PBS_NODENUM": "0",
           "TMPDIR": "/tmp/7", "HOSTNAME": "n1", "NCCL_DEBUG": "INFO", "HPCSWEEP_RUN": "r"}  # fmt: skip
    assert shared_environment(env).keys() == {"PATH", "HF_TOKEN", "NCCL_DEBUG", "HPCSWEEP_RUN"}
