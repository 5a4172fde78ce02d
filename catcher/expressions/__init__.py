"""The language of conditions: parser, compiler, windows, functions, three-valued truth.

Start with `parser.py` (text to tree), then `compiler.py` (tree to closures) and `functions.py`.
"""

from catcher.expressions.compiler import ExpressionCompiler
from catcher.expressions.errors import ExpressionError

__all__ = ["ExpressionCompiler", "ExpressionError"]
