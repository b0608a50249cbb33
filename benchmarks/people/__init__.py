"""Dense against octave on footage of people: `python -m benchmarks.people`."""
