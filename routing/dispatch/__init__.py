"""Stage 4: ModelRequest → ModelResponse.

engine.py      the candidates in turn, every call booked
limits.py      how much is sent to a provider at a time; breaker.py, retry.py: when it is left alone, and when asked again
sharing.py     limits and breakers of several processes, in Redis (sharing_redis.py) or PostgreSQL (sharing_postgres.py)
faults.py      what an HTTP status or an error type stands for
providers/     one adapter per wire protocol
"""
