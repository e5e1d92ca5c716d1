import runpy

for name in ("start", "window", "precision", "scene", "vectorize", "memory"):
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
