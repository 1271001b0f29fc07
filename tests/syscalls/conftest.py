"""Handlers are tested without processes: see fake_task."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
