"""What the check says of numbers.

``measure``  how two tensors differ: numbers alone
``judge``    whether that is too much: tolerances
``phrase``   the same in words
"""
