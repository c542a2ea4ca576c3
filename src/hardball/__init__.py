"""hardball: training and honestly measuring classifiers under large adversarial perturbations.

The public names are listed in `__init__.pyi`. Each is imported when it is first used.
"""

import lazy_loader

from hardball._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
