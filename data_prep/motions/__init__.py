"""Demo data set: H.264 videos of photographs that move in eight ways. Run `python -m data_prep.motions OUT`.

The classes differ in motion only. What makes a single frame worthless, and frames in random order worthless
for telling a motion from its reverse, is explained in `scene.py`.
"""
