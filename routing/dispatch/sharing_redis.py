"""An `Exchange` on Redis or Valkey (https://redis.io/docs/latest/commands/), with redis-py.

    {pointsman}:flow:NAME         when each of the two flows is full again        a number each, gone once they are full
    {pointsman}:hint:KIND:NAME    what holds, until when                          gone once it holds no more
    {pointsman}:probe:NAME        until when a probe is somebody's                as well
    {pointsman}:processes         who was seen when                               a sorted set
    pointsman:N                   the channel on which hints are published; N is the number of the database

A flow is one number (the "theoretical arrival time" of GCRA): taking moves it on, time catches up with it. Each operation is
one script, so none sees half of another, and the time is the server's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from routing.dispatch.sharing import SEEN_LATELY_SECONDS, Exchange, Hint

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PREFIX = "{pointsman}:"
_CONNECT_SECONDS = 2.0
_SECONDS_BETWEEN_CHECKS = 5.0

_NOW = """
local now = tonumber(ARGV[1])
if not now then local t = redis.call('TIME'); now = tonumber(t[1]) + tonumber(t[2]) / 1e6 end
local function text(number) return string.format('%.6f', number) end
"""

_TAKE = (
    _NOW
    + """
local full, wait = {}, 0
for i = 1, 2 do
  full[i] = math.max(tonumber(redis.call('HGET', KEYS[1], i) or 0), now) + tonumber(ARGV[i + 2])
  wait = math.max(wait, full[i] - now - 60)
end
if wait <= tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 1, text(full[1]), 2, text(full[2]))
  redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(full[1], full[2]) - now) * 1000) + 1000)
end
return text(wait)
"""
)

_GIVE_BACK = """
for i = 1, 2 do
  if redis.call('HEXISTS', KEYS[1], i) == 1 then redis.call('HINCRBYFLOAT', KEYS[1], i, -tonumber(ARGV[i])) end
end
"""

_POST = (
    _NOW
    + """
local seconds = tonumber(ARGV[2])
if seconds > 0 then
  redis.call('HSET', KEYS[1], 'hint', ARGV[3], 'until', text(now + seconds))
  redis.call('PEXPIRE', KEYS[1], math.ceil(seconds * 1000))
else
  redis.call('DEL', KEYS[1])
end
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[4], ARGV[5] .. ' ' .. ARGV[3])
"""
)

_PROBE = (
    _NOW
    + """
if tonumber(redis.call('GET', KEYS[1]) or 0) > now then return 0 end
redis.call('SET', KEYS[1], text(now + tonumber(ARGV[2])), 'PX', math.ceil(tonumber(ARGV[2]) * 1000))
return 1
"""
)

_ATTEND = (
    _NOW
    + """
redis.call('ZADD', KEYS[1], text(now), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now - tonumber(ARGV[3])))
return redis.call('ZCARD', KEYS[1])
"""
)

_HELD = (
    _NOW
    + """
local found, held = redis.call('KEYS', ARGV[2]), {}
for _, key in ipairs(found) do
  local row = redis.call('HMGET', key, 'hint', 'until')
  if row[1] and tonumber(row[2]) > now then
    table.insert(held, row[1])
    table.insert(held, text(tonumber(row[2]) - now))
  end
end
return held
"""
)


class RedisExchange:
    """The exchange at a Redis. ``now``, in seconds, takes the place of the server's time."""

    def __init__(self, redis: Redis, process: str, *, now: Callable[[], float] | None = None) -> None:
        self._redis: Any = redis  # its methods are typed for both its kinds, waiting and not
        self._process = process
        self._now = now
        self._channel = f"pointsman:{self._redis.connection_pool.connection_kwargs.get('db', 0)}"

    async def take(self, name: str, seconds: tuple[float, float], *, patience: float) -> float:
        return float(await self._run(_TAKE, [f"flow:{name}"], patience, *seconds))

    async def give_back(self, name: str, seconds: tuple[float, float]) -> None:
        await self._evaluate(_GIVE_BACK, [f"flow:{name}"], *seconds)

    async def post(self, hint: Hint) -> None:
        kind = "opened" if hint.kind in ("closed", "released") else hint.kind
        if hint.kind == "released":
            await self._redis.delete(f"{_PREFIX}probe:{hint.name}")
            return
        keys = [f"hint:{kind}:{hint.name}", f"probe:{hint.name}"]
        await self._run(_POST, keys, hint.seconds, json.dumps(asdict(hint)), self._channel, self._process)

    async def probe(self, name: str, seconds: float) -> bool:
        return bool(await self._run(_PROBE, [f"probe:{name}"], seconds))

    async def hints(self) -> AsyncGenerator[Hint]:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(self._channel)
            held: list[str] = await self._run(_HELD, [], f"{_PREFIX}hint:*")
            for text, left in zip(held[::2], held[1::2], strict=True):
                yield replace(_hint_of(text), seconds=float(left))
            while True:
                message = await channel.get_message(timeout=_SECONDS_BETWEEN_CHECKS)
                sender, _, text = str(message["data"] if message else "").partition(" ")
                if text and sender != self._process:
                    yield _hint_of(text)

    async def attend(self) -> int:
        return int(await self._run(_ATTEND, ["processes"], self._process, SEEN_LATELY_SECONDS))

    async def _run(self, script: str, keys: list[str], *arguments: object) -> Any:
        """Run a script that wants the time first."""
        return await self._evaluate(script, keys, "" if self._now is None else self._now(), *arguments)

    async def _evaluate(self, script: str, keys: list[str], *arguments: object) -> Any:
        names = [f"{_PREFIX}{key}" for key in keys]
        return await self._redis.eval(script, len(names), *names, *arguments)


def _hint_of(text: str) -> Hint:
    return Hint(**json.loads(text))


def connect_redis(url: str) -> Callable[[str], Any]:
    """What opens an exchange at a ``redis://`` or ``rediss://`` address."""

    @asynccontextmanager
    async def connect(process: str) -> AsyncGenerator[Exchange]:
        redis = await anyio.to_thread.run_sync(client_of, url)  # 0.4 s of imports the first time
        try:
            yield RedisExchange(redis, process)
        finally:
            await redis.aclose()

    return connect


def client_of(url: str) -> Redis:
    """The client at an address."""
    from redis.asyncio import Redis  # noqa: PLC0415 - only who sets POINTSMAN_REDIS_URL has it

    return Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - its keywords are not typed
        url, decode_responses=True, socket_connect_timeout=_CONNECT_SECONDS
    )
