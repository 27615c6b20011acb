"""``python -m convtimenet`` runs the command line."""

import sys

from convtimenet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
