"""At home in every MCP host: what `server.py install` does.

    launch.py    how this copy of Pointsman is started: absolute paths
    table.py     the hosts as data: where their file lies on each platform, and what an entry in it looks like
    machine.py   a host's place on this machine
    jsonc.py     one value of a JSON file changed, comments and everything else kept byte for byte
    blocks.py    the same for YAML
    install.py   plan a change of a host's file, show it, make it
    links.py     links and buttons that install by a click

Only `cli.py` imports this room.
"""
