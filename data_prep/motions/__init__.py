"""Demo data set: H.264 videos of photographs that move in eight ways. Run `python -m data_prep.motions OUT`.

The classes differ in motion only; `motion.py` says what makes that so.
"""
