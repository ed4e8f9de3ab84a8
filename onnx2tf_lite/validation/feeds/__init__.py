"""What a model and its layers are fed.

``inputs``    arrays of the user, or seeded ones that suit each input; ``images``: a folder of them
``draw``      arrays of one kind each: pictures, masks, ids, numbers around a constant
``facts``     what the graph says of its inputs, ``traces`` followed through it
``extents``   sizes for what the model leaves open
``operands``  what a layer on its own is run on
"""
