"""`python -m dnmf`."""

from dnmf.cli import main

main()
