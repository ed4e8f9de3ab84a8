"""What a check found: ``report`` as data and sentences, ``show`` on a terminal, ``overlay`` for a graph's viewer.

Its page is ``validation.page``.
"""
