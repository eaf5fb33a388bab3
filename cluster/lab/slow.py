"""A slow cable: carries frames between a host's link and the bridge late, and loses some. Few
kernels have netem."""

import fcntl
import heapq
import os
import random
import select
import socket
import struct
import sys
import time

TAP = "slow"
DELAY_S, JITTER_S, LOSS = 0.1, 0.025, 0.005
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
FRAME = 1 << 17  # what the kernel has not cut into packets yet may be this large


def tap() -> int:
    """A link whose frames are read and written here; `main` ends and it is gone."""
    file = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(
        file, TUNSETIFF, struct.pack("16sH", TAP.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
    )
    return file


def cable(link: str) -> int:
    """Every frame that comes in at `link`, with the same header before it that the other end
    takes."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.bind((link, 0))
    return end.detach()


def carry(one: int, other: int) -> None:
    """From each end to the other, in order, as a cable does."""
    across = {one: other, other: one}
    latest = dict.fromkeys(across, 0.0)
    on_the_way: list[tuple[float, int, bytes, int]] = []
    n = 0
    while True:
        wait_s = max(0.0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        for end in select.select([one, other], [], [], wait_s)[0]:
            frame = os.read(end, FRAME)
            if random.random() < LOSS:
                continue
            latest[end] = max(
                latest[end], time.monotonic() + DELAY_S + random.uniform(-JITTER_S, JITTER_S)
            )
            heapq.heappush(on_the_way, (latest[end], n := n + 1, frame, across[end]))
        while on_the_way and on_the_way[0][0] <= time.monotonic():
            _, _, frame, to = heapq.heappop(on_the_way)
            os.write(to, frame)


if __name__ == "__main__":
    ends = tap(), cable(sys.argv[1])
    print("ready", flush=True)
    carry(*ends)
