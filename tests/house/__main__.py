"""``python -m tests.house``."""

from tests.house import main

raise SystemExit(main())
