"""Context economics: a prompt that is too long, or dear, is read in parts by a cheap model first.

    plan.py        whether that is to be done, who reads, and what it is expected to cost
    parts.py       a text cut at its natural borders into parts of so many tokens
    reading.py     the parts read side by side, their notes merged in levels, and the task that remains

    prompt ─cut→ parts ─map: what bears on the question→ notes ─reduce, where still too long→ notes ─→ the chosen model answers

It happens of itself where the prompt fits the window of no model that may take the task (unless ``POINTSMAN_OVERFLOW=refuse``),
and above ``POINTSMAN_COMPRESS_ABOVE_TOKENS``, where that is set and the estimate says that it pays. All of it runs under the
task's own constraints, budget and deadline, and is booked on its one route.
"""
