"""Stage 4: ModelRequest → ModelResponse.

engine.py      the candidates in turn, every call booked
faults.py      what an HTTP status or an error type stands for
providers/     one adapter per wire protocol
"""
