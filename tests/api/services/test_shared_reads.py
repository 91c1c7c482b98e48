"""Many callers that need one thing at the same time read it once."""

import asyncio
import threading

import pytest

from api.services.shared_reads import SharedReads


def test_callers_of_one_key_share_a_read_and_later_ones_read_again() -> None:
    go_on, reads = threading.Event(), 0

    def read() -> int:
        nonlocal reads
        reads += 1
        assert go_on.wait(30)
        return reads

    async def run() -> None:
        shared: SharedReads[int] = SharedReads()
        callers = [asyncio.create_task(shared.of("job", read)) for _ in range(100)]
        other = asyncio.create_task(shared.of("other job", lambda: 7))
        await asyncio.sleep(0)
        callers[0].cancel()  # a client that leaves
        go_on.set()

        results = await asyncio.gather(*callers, return_exceptions=True)

        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [1] * 99
        assert await other == 7
        assert await shared.of("job", read) == 2

    asyncio.run(run())


def test_an_error_reaches_every_caller_and_the_next_one_reads_again() -> None:
    async def run() -> None:
        shared: SharedReads[int] = SharedReads()

        def fail() -> int:
            raise LookupError("deleted")

        callers = [asyncio.create_task(shared.of("job", fail)) for _ in range(3)]
        results = await asyncio.gather(*callers, return_exceptions=True)

        assert [str(each) for each in results] == ["deleted"] * 3
        with pytest.raises(LookupError):
            await shared.of("job", fail)

    asyncio.run(run())
