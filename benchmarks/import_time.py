"""Prints the seconds that loading an instrumentation takes in this fresh process.

    python import_time.py MODULE [LOADED ...]

The time is that of importing MODULE and of ``OllamaInstrumentor().instrument()``, because an
instrumentation may put off to the second what it saves in the first. LOADED are modules that the
program has anyway; they are imported before. Nothing else is, for it would be taken off the
instrumentation's time.
"""

import sys
from importlib import import_module
from time import process_time

module, *loaded = sys.argv[1:]
for name in loaded:
    import_module(name)
start = process_time()
import_module(module).OllamaInstrumentor().instrument()
print(process_time() - start)
