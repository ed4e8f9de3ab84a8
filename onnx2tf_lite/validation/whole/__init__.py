"""A model and its file from end to end.

``samples``   the reference's side: the inputs, and its tensors for them
``asked``     what the inputs depend on of the files
``run``       the file's side, in a child: rows of figures
``pointers``  the memory that a plain run takes, which is no part of a budget
"""
