"""Many models at once, on Dask: from the cores of a laptop to a cluster.

``plan``      which models, with which options      ``storage``   where they are and where the results go (fsspec)
``job``       one model, from its bytes to results  ``process``   a warm process that forks for every model
``made``      what is told of a conversion          ``run``       all of them, through whatever dies on the way
``cluster``   where that is done, what fits there   ``progress``  what is seen meanwhile
``page``      what is seen afterwards

A model is converted in a process of its own on a worker: a crash, a lack of memory, a time-out are that model's
failure.  Beside its files lies a record with the key of everything that they were made of; what has its record is not
done again, so a run that was cut short is simply started again.
"""

from .plan import FleetPlan
from .run import Fleet, convert_many

__all__ = ["Fleet", "FleetPlan", "convert_many"]
