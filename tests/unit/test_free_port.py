"""The port of a server, which is bound long after it was chosen."""

import socket

import pytest

from hpcsweep.node.process import ports


def test_the_port_is_none_that_the_kernel_gives_to_connections(tmp_path):
    kernel = tmp_path / "range"
    kernel.write_text("32768\t60999\n")
    chosen = {ports.free_port(kernel) for _ in range(20)}
    assert len(chosen) > 1 and all(20_000 <= port < 32_768 for port in chosen)


def test_a_port_in_use_is_not_chosen(tmp_path, monkeypatch):
    kernel = tmp_path / "range"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        taken = other.getsockname()[1]
        monkeypatch.setattr(ports, "_FIRST", taken)
        kernel.write_text(f"{taken + 1} 65535")
        assert ports.free_port(kernel) != taken
    assert ports.free_port(kernel) == taken


@pytest.mark.parametrize("text", ["1024 65535", "", "no numbers", None])
def test_without_ports_below_the_range_it_is_one_of_the_kernel(tmp_path, text):
    kernel = tmp_path / "range"
    if text is not None:
        kernel.write_text(text)
    assert ports.free_port(kernel) >= 1024
