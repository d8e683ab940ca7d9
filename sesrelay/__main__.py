"""``python -m sesrelay`` is the program ``sesrelay``."""

from sesrelay.fronts.cli.main import main

if __name__ == "__main__":
    main()
