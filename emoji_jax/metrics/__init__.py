"""How near frames are to other frames, and faces to other faces.

Every number is per frame, but for FVD, which is of sets of videos.
"""
