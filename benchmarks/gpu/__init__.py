"""The run on a GPU machine: `python -m benchmarks.gpu`, rehearsed on the CPU by `python -m benchmarks.gpu --rehearse`.

A GPU may be had for minutes only, so one call measures everything, in order of value: each step in a process and under
a time limit of its own, each number written as it is found.

    plan     the steps, their limits, and how they are run
    results  the lines of results.jsonl, and the table
    kit      what the machine lacks, carried there; `wheels` collects it
    lab      what a step has at hand; every other file is a step
"""
