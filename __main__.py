"""``python -m pointsman``, for the installed package."""

from pointsman.server import main

main()
