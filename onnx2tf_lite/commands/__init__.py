"""Command lines, all of one make: a table of options is the parser, the help, the completion and the documentation.

    main = command(
        outputs_delete,
        INPUT, OUTPUT,
        option("-on --output_op_names NAME...", "graph outputs to delete", required=True),
        flag("--prune-inputs", "delete inputs that nothing reads any more"),
    )

The long flag is the keyword of the function (or ``dest=`` says it); flags are found with hyphens or underscores, and
abbreviated.  What is left out on the command line is left to the function's default.  The docstring of the function's
module is the help; its lines are filled to the width of the terminal.

* `table`       options: `option`, `flag`, `repeated`, `group`, `ignored`, `refused`
* `parser`      argparse with that help; `command`: a function, its table, exit codes, a pipe that closes
* `words`       sizes, shapes and numbers as they are written: types of options
* `log`         what is said: INFO and WARNING lines
* `completion`  scripts for the shells

Nothing here imports more than the standard library before it is needed: help takes a tenth of a second.
"""

from __future__ import annotations

from .command import Command, command, guarded, leave
from .log import Log
from .parser import Parser
from .table import Option, flag, group, ignored, option, parameter, refused, repeated

__all__ = ["Command", "Log", "Option", "Parser", "command", "guarded", "leave"]
__all__ += ["flag", "group", "ignored", "option", "parameter", "refused", "repeated"]
