"""`python -m execnode` is the `execnode` command."""

from execnode.cli import main

if __name__ == "__main__":
    main()
