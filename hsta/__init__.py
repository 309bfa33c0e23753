"""HSTA for micro-expression recognition: datasets, vision, model, training, evaluation and report.

The science of the project. Nothing in this package imports Ray, and importing the package itself pulls in neither Ray nor
torch: each sub-package imports what it needs where it needs it.
"""

__version__ = "0.1.0"
