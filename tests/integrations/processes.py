"""Two processes, of which this one is the first: a second one is all that has to be started."""

from __future__ import annotations

import socket

import torch


def second(index, work, port, folder):
    torch.set_num_threads(1)
    work(1, port, folder)


def with_a_second(work, folder):
    """Run ``work(rank, port, folder)`` here as rank 0 and in another process as rank 1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = torch.multiprocessing.spawn(second, (work, port, str(folder)), join=False)
    try:
        work(0, port, str(folder))
        while not other.join():
            pass
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for process in other.processes:
            process.kill()
