"""`python -m harness.contract`: see `harness.contract.render`."""

import sys

from harness.contract.render import main

sys.exit(main())
