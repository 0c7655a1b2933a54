"""Host side of winvm: builds, boots, deploys, drives, captures, reports."""

import logging

__version__ = "0.2.0"

# What winvm logs goes where `harness.display.debuglog` says, never to the user's own handlers.
logging.getLogger("winvm").addHandler(logging.NullHandler())
logging.getLogger("winvm").propagate = False
