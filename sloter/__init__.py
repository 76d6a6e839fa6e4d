"""SCOUTER, a slot-attention image classifier whose explanation maps sum to its logits (Li et al., ICCV 2021).

Shape letters, the same in every file and every einsum of this package:

=====  ====================================================
``b``  pictures in a batch
``c``  classes
``s``  slots per class
``k``  slots in all, ``k = c * s``, ordered class by class
``h``  rows of the feature grid
``w``  columns of the feature grid
``n``  places of the grid, ``n = h * w``, row by row
``d``  width of keys, values and slots (``hidden_dim``)
``f``  channels of the backbone's feature map
``H``  height of the picture in pixels
``W``  width of the picture in pixels
=====  ====================================================
"""


class ModelError(ValueError):
    """Error of a model that cannot be built as requested; the message is one line that says what to do."""
