"""How near frames are to other frames, and faces to other faces; every number is per frame."""
