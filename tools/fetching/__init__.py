"""Reading the web, as an attacker would not like it.

addresses.py   a URL, strictly parsed; an IP address, vetted
dialer.py      name → vetted IP → connection
decoding.py    gzip and deflate, never more than was asked for
fetch.py       Fetcher: address → redirects → body → Page
late.py        the Fetcher once it is needed
reading.py     a document's bytes → Markdown, in a process with a limit of time and memory
child.py       that process
documents.py   what it does: HTML, PDF, JSON and text
hidden.py      what a reader of an HTML page would not see
cache.py       pages that were read a moment ago
untrusted.py   text from outside: made harmless to print, and marked as what it is
"""
