"""`python -m dnmf`."""

from dnmf.cli.app import main

main()
