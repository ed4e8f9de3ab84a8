"""What every input needs, imported and built once: the process that forks for them imports this module first."""

from . import campaign

campaign.models()
campaign.warm()
