"""The steps of the prepared run on a GPU, a file each, and what they share; `gpu_run.py` runs them.

`ways` trains members in several ways, `agreement` compares each with float32 on the CPU, `measuring` is what a
process does with one, `processes` starts and outlives such processes, and `rows` writes what they found.
"""
