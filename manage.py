#!/usr/bin/env python
"""Django's command line."""

import os
import sys

from imageextractor.commands import main

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imageextractor.settings")
    sys.exit(main(sys.argv))
