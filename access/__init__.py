"""Who may call over HTTP, and how much at once.

    tokens.py    bearer tokens of our own: a file of their hashes
    oauth.py     tokens of an OAuth 2.1 authorization server, as a resource server checks them
    guard.py     both as the SDK's `TokenVerifier`, and the gate before every page of the server
    limits.py    how many calls of one caller run, how many wait, and when the rest are sent away
    door.py      the same, before a request is read as MCP

`serving.py` puts them before the server, `cli.py` writes the tokens. Who a caller is, is said in one place:
`tools.base.caller_of`.
"""
